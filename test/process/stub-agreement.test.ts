import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createEngine,
  type Engine,
  type GenerateOptions,
  inspectModel,
  type StubOptions,
  stubProcess,
  stubWorker,
} from "../../src/index.ts";

/** Every way of asking that the stub's law knows. */
const REQUESTS: readonly GenerateOptions[] = [
  ...[1, 2, 3, "full" as const].map((window) => ({ window })),
  { window: 2, refreshRowEnds: true },
  { window: "adaptive" },
  ...(["overlapped", "sequential"] as const).flatMap((verification) =>
    (["rejection", "coupled"] as const).map((test) => ({
      window: { kind: "adaptive" as const, min: 1, verification, test },
    })),
  ),
  { window: "guessed" },
  { window: { kind: "guessed", size: 1 }, guidanceScale: 2, guidanceInterval: [0.2, 0.7] },
  { window: { kind: "guessed", size: 1, unchanged: 1 }, temperature: 0.3 },
  { window: 3, temperature: 0 },
  { window: 3, temperature: 0.3 },
  { window: 3, temperature: 7 },
  { window: 3, temperature: 0.01 },
  { window: 3, topK: 1 },
  { window: 3, topK: 2, temperature: 2 },
  { window: 3, topK: 100 },
  { window: 3, topP: 0.5 },
  { window: 3, topP: 0.55 },
  { window: 3, topK: 3, topP: 0.9, temperature: 1.7 },
  { window: { kind: "adaptive", min: 1 }, temperature: 0 },
  { window: { kind: "adaptive", min: 1 }, topP: 0.8, temperature: 1.3 },
  { window: 3, guidanceScale: 4 },
  { window: "full", lookahead: 6 },
  { window: 1, lookahead: 3 },
  { window: 2, lookahead: 20, guidanceScale: 2, guidanceInterval: [0.2, 0.7] },
  { window: 3, lookahead: 5, temperature: 0.3, refreshRowEnds: true },
];

/** Ways of going on from a first row that is given. */
const PREFIXED: readonly GenerateOptions[] = [
  { window: 2 },
  { window: "full", lookahead: 6 },
  { window: 1, lookahead: 3, refreshRowEnds: true },
  { window: { kind: "guessed", size: 1 }, guidanceScale: 2, guidanceInterval: [0.5, 0.8] },
  { window: { kind: "adaptive", min: 1 } },
];

describe.each<StubOptions>([
  { rows: 6, columns: 8, reach: 3, codeCount: 5 },
  { rows: 6, columns: 8, reach: 3, codeCount: 5, rowEnd: "token", promptLength: 4, seed: 12 },
  { rows: 9, columns: 4, reach: 0, codeCount: 16384, rowEnd: "token" },
  { rows: 3, columns: 17, reach: 20, codeCount: 1000, promptLength: 3, seed: 2 ** 32 - 1 },
  { rows: 1, columns: 5, codeCount: 2 },
  { rows: 5, columns: 1, codeCount: 2, rowEnd: "token" },
])("the stub in this process and the one behind the wire agree: %j", (options) => {
  let engines: [Engine, Engine];

  beforeAll(async () => {
    engines = [
      await createEngine({ worker: stubWorker(options) }),
      await createEngine({ worker: stubProcess(options) }),
    ];
  });
  afterAll(() => Promise.all(engines.map((engine) => engine.dispose())));

  test("on tokens, forwards and drafts of every request", async () => {
    const columns = options.columns as number;
    const prefix = { tokens: [Array.from({ length: columns }, (_, column) => column % 2)] };
    const prefixed = options.rows === 1 ? [] : PREFIXED.map((request) => ({ ...request, prefix }));
    const fitting = [...REQUESTS, ...prefixed].filter(
      ({ window }) => typeof window !== "number" || window <= columns,
    );
    const [inProcess, behindWire] = await Promise.all(
      engines.map((engine) =>
        Promise.all(
          fitting.map(async (request, k) => {
            const { tokens, adaptive, stats } = await engine.generate({
              classLabel: k,
              seed: 50 + k,
              image: false,
              lookahead: 0,
              ...request,
            });
            return { request, tokens, adaptive, forwards: stats.forwards };
          }),
        ),
      ),
    );
    expect(behindWire).toEqual(inProcess);
  });

  test("on pixels", async () => {
    const [inProcess, behindWire] = await Promise.all(
      engines.map(async (engine) => (await engine.generate({ classLabel: 1, seed: 1, window: 1 })).image),
    );
    expect(behindWire?.pixels).toEqual(inProcess?.pixels);
    expect([behindWire?.width, behindWire?.height]).toEqual([inProcess?.width, inProcess?.height]);
  });

  test("on the model card, save for the memory of a slot", () => {
    expect({ ...engines[1].card, kvBytesPerSlot: 0 }).toEqual(engines[0].card);
  });
});

test("the stub behind the wire is described as the one in this process", async () => {
  const stub = { rows: 4, columns: 6, rowEnd: "token", promptLength: 3 } as const;
  const [here, there] = await Promise.all(
    [stubWorker(stub), stubProcess(stub)].map((worker) => inspectModel({ worker })),
  );
  expect(there?.device).toBe("cpu");
  expect(there?.card.grids).toEqual(here?.card.grids);
  expect(there?.freeBytes).toBeNull();
});
