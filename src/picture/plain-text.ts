import { z } from "zod";
import { OBEYED } from "../protocol/harmless.ts";

/** Text of one line that a terminal shows as it is. */
export function plainText(maxLength: number) {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .refine((text) => text.search(OBEYED) < 0, "expected text that can be printed");
}

/** What somebody else wrote, made into such text. */
export function toPlainText(text: string, maxLength: number): string {
  const printable = text.replace(OBEYED, " ").trim().slice(0, maxLength);
  return printable.replace(/[\uD800-\uDBFF]$/, "") || "?";
}

/** The same for text of several lines, which keep their ends. */
export function toPlainLines(text: string): string {
  return text
    .split(/\r\n|[\r\n\u2028\u2029]/)
    .map((line) => line.replace(OBEYED, " "))
    .join("\n");
}

/** What somebody else wrote, for a terminal: what cannot be printed as the escapes of JSON, so that JSON stays what it is. */
export function escapeUnprintable(text: string): string {
  return text.replace(OBEYED, escapeUnits);
}

/** The same in ASCII alone, for places that know no other text. */
export function escapeNonAscii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, escapeUnits);
}

function escapeUnits(character: string): string {
  return Array.from(
    { length: character.length },
    (_, k) => `\\u${character.charCodeAt(k).toString(16).padStart(4, "0")}`,
  ).join("");
}
