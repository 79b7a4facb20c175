export const INK = "#1f2328";

/** A text element. Text may come from a user; the style may set another fill. */
export function svgLabel(x: number, y: number, text: string, style = ""): string {
  const escaped = text
    .replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replace(/\p{Cc}/gu, " ");
  const fill = style.includes("fill=") ? "" : ` fill="${INK}"`;
  return `<text x="${roundCoordinate(x)}" y="${roundCoordinate(y)}"${fill} ${style}>${escaped}</text>`;
}

/** To a hundredth of a pixel, which keeps files small. */
export function roundCoordinate(value: number): number {
  return Math.round(value * 100) / 100;
}
