/** Text that is no number stays text: to refuse it is the matter of the option's schema, here and in all that follows. */
export function readNumber(text: string): number | string {
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

/** Numbers with commas between them. */
export function readNumbers(text: string): readonly unknown[] {
  return text.split(",").map(readNumber);
}

/** `N`, `full`, `guessed`, `guessed:N`, `guessed:N:R`, `adaptive` or `adaptive:N`. */
export function readWindow(text: string): unknown {
  if (text === "full") return text;
  const [kind, ...numbers] = text.split(":");
  const names = kind === "guessed" ? ["size", "unchanged"] : kind === "adaptive" ? ["min"] : [];
  if (names.length === 0) return readNumber(text);
  if (numbers.length > names.length) return text; // which no schema takes
  return { kind, ...Object.fromEntries(numbers.map((number, k) => [names[k], readNumber(number)])) };
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
