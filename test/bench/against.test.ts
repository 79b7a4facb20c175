import { expect, test } from "vitest";
import { FAMILIES, type Side } from "../../bench/against/families.ts";
import { aimFigures, figuresOf, type ImageRun, median } from "../../bench/against/figures.ts";
import { resolveAgainst } from "../../bench/against/options.ts";
import { markdownTable, terminalTable } from "../../bench/against/table.ts";

const THEIRS: Side = { name: "theirs", loop: ["llamagen"] };
const OURS: Side = { name: "ours", generate: { window: "full" }, tokensOf: "theirs" };
const DEFAULT: Side = { name: "default", generate: {} };

const run = (forwards: number, seconds: number, codes: readonly number[]): ImageRun => ({
  forwards,
  seconds,
  codes,
});

function measured(codesOfOurs: readonly number[] = [1, 2, 3]) {
  const first = [9, 8, 7];
  return figuresOf([
    {
      side: THEIRS,
      runs: [run(10, 6, first), run(10, 8, [1, 2, 3]), run(10, 70, first)],
      peakBytes: 5 * 2 ** 20,
    },
    { side: OURS, runs: [run(4, 1, first), run(6, 2, codesOfOurs), run(5, 2, first)], peakBytes: undefined },
    { side: DEFAULT, runs: [run(2, 1, [0]), run(2, 1, [0]), run(2, 4, [0])], peakBytes: undefined },
  ]);
}

test("an image of each side is its median, and a ratio that of medians, so that one slow image changes neither", () => {
  const [theirs, ours] = measured();
  expect(theirs).toMatchObject({ forwards: 10, secondsPerImage: 8, msPerForward: 2800 });
  expect(ours).toMatchObject({ forwards: 5, secondsPerImage: 2 });
  expect(ours?.faster).toEqual({ theirs: 4 });
  expect(theirs?.faster).toEqual({ theirs: 1 });
});

test("the median of an even number of values lies between the two in the middle", () => {
  expect([median([4, 1, 3, 100]), median([7]), median([9, 1, 2])]).toEqual([3.5, 7, 2]);
});

test("greedy tokens are compared image by image, and only with a side that makes the same ones", () => {
  const agreement = { equalImages: 3, images: 3, equalTokens: 3, tokensPerImage: 3 };
  expect(measured().map(({ tokens }) => tokens)).toEqual([undefined, agreement, undefined]);
  for (const [codes, equalTokens] of [
    [[1, 5, 3], 1],
    [[1, 2], 2],
  ] as const)
    expect(measured(codes)[1]?.tokens).toEqual({ ...agreement, equalImages: 2, equalTokens });
});

test("one token too many is not equal", () => {
  expect(measured([1, 2, 3, 4])[1]?.tokens?.equalImages).toBe(2);
});

test("the tables hold every figure, the aims, what is not equal and what was left out", () => {
  const figures = measured([1, 5, 3]);
  const aims = aimFigures(
    [
      { side: "ours", than: "theirs", factor: 3 },
      { side: "ours", than: "theirs", factor: 8 },
      { side: "ours", than: "absent", factor: 2 },
    ],
    figures,
  );
  const report = { title: "Two sides", figures, aims, leftOut: ["absent: name a checkout"] };
  expect(`\n${terminalTable(report)}\n\n${markdownTable(report)}`).toMatchInlineSnapshot(`
    "
    Two sides
                forwards   ms a forward   s an image   peak MiB   faster than theirs                                               greedy tokens
      theirs        10.0         2800.0         8.00          5                1.00x                                                            
      ours           5.0          333.3         2.00    unknown                4.00x   NOT equal: 2 of 3 images; the first other token is 2 of 3
      default        2.0         1000.0         1.00    unknown                8.00x                                                            
    Aim: ours at least 3x theirs: 4.00x, reached
    Aim: ours at least 8x theirs: 4.00x, NOT reached
    Aim: ours at least 2x absent: not measured
    LEFT OUT: absent: name a checkout

    ## Two sides

    |  | forwards | ms a forward | s an image | peak MiB | faster than theirs | greedy tokens |
    | --- | --- | --- | --- | --- | --- | --- |
    | theirs | 10.0 | 2800.0 | 8.00 | 5 | 1.00x |  |
    | ours | 5.0 | 333.3 | 2.00 | unknown | 4.00x | NOT equal: 2 of 3 images; the first other token is 2 of 3 |
    | default | 2.0 | 1000.0 | 1.00 | unknown | 8.00x |  |

    - Aim: ours at least 3x theirs: 4.00x, reached
    - Aim: ours at least 8x theirs: 4.00x, NOT reached
    - Aim: ours at least 2x absent: not measured
    - LEFT OUT: absent: name a checkout
    "
  `);
});

test("a family of which nothing was measured says only what was left out", () => {
  const report = { title: "Nothing", figures: [], aims: [], leftOut: ["LlamaGen: name a checkout"] };
  expect(terminalTable(report)).toMatchInlineSnapshot(`
    "Nothing
      nothing to compare with
    LEFT OUT: LlamaGen: name a checkout"
  `);
  expect(markdownTable(report)).not.toContain("NaN");
});

test("without options all families run, three images a side", () => {
  expect(resolveAgainst({ against: true }, "bench-output")).toEqual({
    families: ["llamagen", "janus", "emu3"],
    images: 3,
    out: "bench-output",
    layers: undefined,
    llamagen: undefined,
    zipar: undefined,
  });
});

test("its options without it are refused, and nothing of it runs unasked", () => {
  expect(resolveAgainst({}, "bench-output")).toBeUndefined();
  expect(() => resolveAgainst({ zipar: "checkout" }, "bench-output")).toThrow("--zipar belongs to --against");
});

test("options are taken as they are given", () => {
  const given = { llamagen: "a", zipar: "b", families: "emu3, janus", layers: "2", images: "5", out: "o" };
  expect(resolveAgainst({ against: true, ...given }, "bench-output")).toEqual({
    ...given,
    families: ["emu3", "janus"],
    layers: 2,
    images: 5,
  });
});

test.each([
  [
    { families: "llamagen,flux" },
    '--families: expected some of llamagen, janus, emu3, with commas; received "flux"',
  ],
  [{ families: "" }, '--families: expected some of llamagen, janus, emu3, with commas; received ""'],
  [{ layers: "0" }, '--layers: expected a whole number from 1 to 999999; received "0"'],
  [{ layers: "two" }, '--layers: expected a whole number from 1 to 999999; received "two"'],
  [{ images: "1" }, '--images: expected a whole number from 2 to 999999; received "1"'],
  [{ images: "1e3" }, '--images: expected a whole number from 2 to 999999; received "1e3"'],
])("%j is refused: what was expected, what was received", (given, message) => {
  expect(() => resolveAgainst({ against: true, ...given }, "bench-output")).toThrow(message);
});

test("every aim and every comparison of tokens names sides that its family has", () => {
  for (const { sides, aims } of FAMILIES) {
    const names = sides.map(({ name }) => name);
    const others = sides.flatMap((side) => ("loop" in side ? [side.name] : []));
    expect(new Set(names).size).toBe(names.length);
    for (const side of sides)
      if ("generate" in side && side.tokensOf) expect(others).toContain(side.tokensOf);
    for (const { side, than } of aims) {
      expect(names).toContain(side);
      expect(others).toContain(than);
    }
  }
});
