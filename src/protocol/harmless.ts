/** What a terminal would obey, but the joiners of Indic scripts and of pictures: control characters, changes of direction. */
const OBEYED = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** A stranger's text without it, on one line. */
export function harmless(text: string): string {
  return text.replace(/[\t\r\n]+/g, " ").replace(OBEYED, "\ufffd");
}
