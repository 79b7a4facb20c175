import { InvalidArgumentError } from "commander";
import type { GenerateOptions } from "../api/generate-options.ts";
import type { ImageSize } from "../api/image-size.ts";

/** Parsers of command-line values; commander reports what they throw as bad input. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value))
    throw new InvalidArgumentError("Expected a whole number.");
  return value;
}

export function realNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}

export function fixedWindow(text: string): number | "full" {
  if (text === "full") return text;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError('Expected a whole number of tokens, at least 1, or "full".');
  }
  return value;
}

/** `N`, `full`, `adaptive` or `adaptive:N`. */
export function anyWindow(text: string): NonNullable<GenerateOptions["window"]> {
  if (text === "adaptive") return { kind: "adaptive" };
  const min = /^adaptive:(\d+)$/.exec(text)?.[1];
  if (min !== undefined && Number(min) >= 1) return { kind: "adaptive", min: Number(min) };
  if (text.startsWith("adaptive")) {
    throw new InvalidArgumentError('Expected "adaptive" or "adaptive:N" with N at least 1.');
  }
  return fixedWindow(text);
}

/** Windows with commas between them. */
export function windowList(text: string): readonly NonNullable<GenerateOptions["window"]>[] {
  return text.split(",").map((part) => anyWindow(part.trim()));
}

/** Whole numbers with commas between them. */
export function wholeNumbers(text: string): readonly number[] {
  return text.split(",").map(wholeNumber);
}

/** `WIDTHxHEIGHT`, or one number for a square. In pixels. */
export function pixelSize(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d+)(?:x(\d+))?$/.exec(text) ?? [];
  if (width === undefined || Number(width) === 0 || Number(height) === 0) {
    throw new InvalidArgumentError('Expected a size in pixels such as "256" or "512x384".');
  }
  return { width: Number(width), height: Number(height ?? width) };
}

/** A size in pixels, or an aspect ratio. */
export function imageSize(text: string): ImageSize {
  const [, width, height] = /^(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (width === undefined) {
    if (text.includes(":")) throw new InvalidArgumentError('Expected a ratio such as "16:9".');
    return pixelSize(text);
  }
  if (Number(width) === 0 || Number(height) === 0) {
    throw new InvalidArgumentError('Expected a ratio of numbers above 0, such as "16:9".');
  }
  return `${Number(width)}:${Number(height)}`;
}

/** `FROM:TO`, shares of the decoded cells. */
export function guidanceInterval(text: string): readonly [number, number] {
  const [from, to, ...more] = text.split(":").map(realNumber);
  if (from === undefined || to === undefined || more.length > 0 || from < 0 || to > 1 || from >= to) {
    throw new InvalidArgumentError(
      'Expected two shares of the decoded cells such as "0.2:0.8", from 0 to 1.',
    );
  }
  return [from, to];
}

/** A class index, or else a class name. */
export function classLabel(text: string): number | string {
  return /^-?\d+$/.test(text) ? Number(text) : text;
}
