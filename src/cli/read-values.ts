/** Text that is no number stays text: to refuse it is the matter of the option's schema, here and in all that follows. */
export function readNumber(text: string): number | string {
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

/** Numbers with commas between them. */
export function readNumbers(text: string): readonly unknown[] {
  return text.split(",").map(readNumber);
}

/** `N`, `full`, `adaptive` or `adaptive:N`. */
export function readWindow(text: string): unknown {
  if (text === "full") return text;
  const [kind, min] = text.split(/:(.*)/, 2);
  if (kind !== "adaptive") return readNumber(text);
  return min === undefined ? { kind } : { kind, min: readNumber(min) };
}

/** Windows with commas between them. */
export function readWindows(text: string): readonly unknown[] {
  return text.split(",").map((part) => readWindow(part.trim()));
}

/** `WIDTHxHEIGHT` or one number for a square, in pixels; anything else may be a ratio. */
export function readSize(text: string): unknown {
  const [, width, height = width] = /^(\d+)(?:x(\d+))?$/.exec(text) ?? [];
  return width === undefined ? text : { width: Number(width), height: Number(height) };
}

/** `auto` or a number. */
export function readLookahead(text: string): unknown {
  return text === "auto" ? text : readNumber(text);
}

/** `FROM:TO`. */
export function readInterval(text: string): readonly unknown[] {
  return text.split(":").map(readNumber);
}

/** The index of a class, or else its name. */
export function readClass(text: string): number | string {
  return /^-?\d+$/.test(text) ? Number(text) : text;
}
