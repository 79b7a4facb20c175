import { describe, expect, test } from "vitest";
import { createEngine } from "../../src/api/engine.ts";
import { type ScoredImage, scoreTokens } from "../../src/eval/score-tokens.ts";
import type { Draw } from "../../src/schedule/step-outcome.ts";
import type { StubOptions } from "../../src/stub/options.ts";
import { stubWorker } from "../../src/stub/source.ts";

/** Bits per token of one image in next-token order, from the probabilities of its own draws, and as scored afterwards. */
async function drawnAndScored(stub: StubOptions, copies: number) {
  let bits = 0;
  const source = stubWorker(stub);
  await using engine = await createEngine({
    maxImages: 2,
    worker: {
      async open(options) {
        const worker = await source.open(options);
        const forward = worker.forward.bind(worker);
        worker.forward = async (steps) => {
          const results = await forward(steps);
          for (const result of results.flat()) {
            if (result !== undefined && "probability" in result)
              bits -= Math.log2((result as Draw).probability);
          }
          return results;
        };
        return worker;
      },
    },
  });
  const { tokens, rows, columns } = await engine.generate({
    classLabel: 3,
    window: "full",
    lookahead: 0, // every draw counts: none is a guess
    seed: 5,
    image: false,
  });
  const image: ScoredImage = {
    conditioning: { type: "class", classIndex: 3 },
    grid: { rows, columns, rowEnd: stub.rowEnd ?? "none" },
    tokens: tokens.flat(),
  };
  const drawn = bits / (rows * columns);
  const scored = await scoreTokens(engine, new Array<ScoredImage>(copies).fill(image));
  return { drawn, scored };
}

describe("bits per token", () => {
  const stub = { rows: 5, columns: 7, reach: 3, promptLength: 2 } as const;

  test("are those of the draws, for an image that was drawn in next-token order without guidance", async () => {
    for (const rowEnd of ["none", "token"] as const) {
      const { drawn, scored } = await drawnAndScored({ ...stub, rowEnd }, 1);
      expect(scored).toHaveLength(1);
      expect(scored[0]).toBeCloseTo(drawn, 6);
    }
  });

  test("do not depend on how many images share the cache, nor on the pieces that large codebooks are read in", async () => {
    const { drawn, scored } = await drawnAndScored({ ...stub, codeCount: 2 ** 21 }, 7); // 2 queries a forward
    expect(scored).toHaveLength(7);
    for (const bits of scored) expect(bits).toBeCloseTo(drawn, 6);
  });

  test("are many for a token that the model holds impossible", async () => {
    await using engine = await createEngine({ worker: stubWorker(stub) });
    const image: ScoredImage = {
      conditioning: { type: "class", classIndex: 0 },
      grid: { rows: 5, columns: 7, rowEnd: "none" },
      tokens: new Array<number>(35).fill(1),
    };
    expect((await scoreTokens(engine, [image]))[0]).toBeGreaterThan(100);
  });
});
