/**
 * A whole number in the digits 0 to 9. Other text stays text: to refuse it is the matter of the option's schema, here and
 * in all that follows.
 */
export function readWhole(text: string): number | string {
  return /^-?[0-9]+$/.test(text) ? Number(text) + 0 : text; // -0 is 0
}

/** A decimal number such as `4`, `0.5`, `.5` or `1e-3`. */
export function readNumber(text: string): number | string {
  return /^-?([0-9]+(\.[0-9]+)?|\.[0-9]+)(e[-+]?[0-9]+)?$/i.test(text) ? Number(text) + 0 : text;
}

/** Whole numbers with commas between them. */
export function readWholes(text: string): readonly unknown[] {
  return text.split(",").map((part) => readWhole(part.trim()));
}

/** `N`, `full`, `guessed`, `guessed:N`, `guessed:N:R`, `adaptive` or `adaptive:N`. */
export function readWindow(text: string): unknown {
  if (text === "full") return text;
  const [kind, ...numbers] = text.split(":");
  const names = kind === "guessed" ? ["size", "unchanged"] : kind === "adaptive" ? ["min"] : [];
  if (names.length === 0) return readWhole(text);
  if (numbers.length > names.length) return text; // which no schema takes
  return { kind, ...Object.fromEntries(numbers.map((number, k) => [names[k], readWhole(number)])) };
}

/** Windows with commas between them. */
export function readWindows(text: string): readonly unknown[] {
  return text.split(",").map((part) => readWindow(part.trim()));
}

/** `WIDTHxHEIGHT` or one number for a square, in pixels; `512 X 512` too. Anything else may be a ratio. */
export function readSize(text: string): unknown {
  const [, width, height = width] = /^([0-9]+)(?:\s*[x×]\s*([0-9]+))?$/i.exec(text) ?? [];
  return width === undefined ? text : { width: Number(width), height: Number(height) };
}

/** `auto` or a number. */
export function readAutoOrWhole(text: string): unknown {
  return text === "auto" ? text : readWhole(text);
}

/** `all`, or devices with commas between them; those that a model is split over have "+" between them. */
export function readDevices(text: string): unknown {
  return text === "all" ? text : text.split(",");
}

/** A whole number, or `MIN:MAX`. */
export function readCounts(text: string): unknown {
  const [min = "", max, ...more] = text.split(":");
  if (more.length > 0) return text; // which no schema takes
  return max === undefined ? readWhole(min) : { min: readWhole(min), max: readWhole(max) };
}

/** `FROM:TO`. */
export function readInterval(text: string): readonly unknown[] {
  return text.split(":").map(readNumber);
}

/** The index of a class, or else its name. */
export function readClass(text: string): number | string {
  return readWhole(text);
}
