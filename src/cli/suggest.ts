/** What other programs call values that zipar calls otherwise. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  fp16: "float16",
  half: "float16",
  bf16: "bfloat16",
  fp32: "float32",
  float: "float32",
  gpu: "cuda",
};

/** Other ways to write `text` that may have been meant, likely ones first; `words` are what it could be. */
export function likelyMeant(text: string, words: readonly string[]): readonly string[] {
  const [head = "", ...rest] = text.split(":"); // adaptve:2
  const word = OTHER_NAMES[head.toLowerCase()] ?? nearestWord(head, words);
  return [
    ...asDecimals(text),
    ...[word].flatMap((word) => (word === undefined ? [] : [[word, ...rest].join(":")])),
    ...[nearestWord(text, words)].filter((word) => word !== undefined),
  ];
}

/** The word of which `text` is the beginning, or that is written nearly like it, whatever the case. */
export function nearestWord(text: string, words: readonly string[]): string | undefined {
  const typed = text.toLowerCase().replaceAll("_", "-");
  const begun = typed.length < 2 ? undefined : words.find((word) => word.toLowerCase().startsWith(typed));
  if (begun !== undefined) return begun;
  const [nearest] = words
    .map((word) => ({ word, distance: editDistance(typed, word.toLowerCase()) }))
    .filter(({ word, distance }) => distance <= Math.max(1, Math.floor(word.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return nearest?.word;
}

/** The number that `0x10`, `1e3`, `1_000`, `7.0`, ` 7`, `0,5` or `٣` stands for elsewhere. */
function asDecimals(text: string): readonly string[] {
  const plain = text
    .trim()
    .replace(/\p{Nd}/gu, (digit) => String(digitValue(digit)))
    .replaceAll("_", "")
    .replace(/^[0-9]{1,3}(,[0-9]{3})+$/, (thousands) => thousands.replaceAll(",", ""))
    .replace(",", ".");
  const number = Number(plain);
  return plain === "" || !Number.isFinite(number) ? [] : [String(number)];
}

/** Digits of a script lie in rows of ten. */
function digitValue(digit: string): number {
  const code = digit.codePointAt(0) as number;
  let first = code;
  while (/\p{Nd}/u.test(String.fromCodePoint(first - 1))) first -= 1;
  return (code - first) % 10;
}

/** Letters to add, take away, change, or swap with a neighbour (Damerau, Levenshtein). */
function editDistance(from: string, to: string): number {
  const distances: number[][] = [];
  const at = (i: number, j: number) => distances[i]?.[j] as number;
  for (let i = 0; i <= from.length; i++) {
    distances.push([i]);
    for (let j = 1; j <= to.length; j++) {
      if (i === 0) {
        distances[i]?.push(j);
        continue;
      }
      const change = from[i - 1] === to[j - 1] ? 0 : 1;
      const isSwap = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      const ways = [at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + change];
      distances[i]?.push(Math.min(...ways, ...(isSwap ? [at(i - 2, j - 2) + 1] : [])));
    }
  }
  return at(from.length, to.length);
}
