/**
 * What a terminal would obey or hide: control characters, changes of direction, half surrogate pairs, separators of lines. The
 * two joiners are part of many scripts, and of emoji.
 */
export const OBEYED = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** A stranger's text without it, on one line. */
export function harmless(text: string): string {
  return text.replace(/[\t\r\n]+/g, " ").replace(OBEYED, "\ufffd");
}
