import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StubOptions } from "../../src/index.ts";
import { fedBySteps } from "../../src/schedule/fed-queries.ts";
import { planRebuild, type RebuildForward } from "../../src/schedule/rebuild.ts";
import type { SequenceState } from "../../src/schedule/sequence-state.ts";
import type { Window } from "../../src/schedule/window.ts";
import { runs, triesAllCases } from "../support/property-runs.ts";
import { recordStub } from "../support/record-stub.ts";
import type { TraceStep } from "../support/run-schedule.ts";

/** Which forward wrote what a slot holds. */
type Versions = Map<number, number>;
/** `slot@step`, ascending. */
type Seen = string;

const ADAPTIVE: readonly Window[] = [1, 2].flatMap((min) =>
  (["overlapped", "sequential"] as const).map((verification) => ({
    kind: "adaptive" as const,
    min,
    verification,
    test: "rejection" as const,
  })),
);

const interrupted = (side: number) =>
  fc
    .record({
      rows: fc.integer({ min: 1, max: side }),
      columns: fc.integer({ min: 1, max: side }),
      rowEnd: fc.constantFrom("none" as const, "token" as const),
      promptLength: fc.integer({ min: 1, max: 4 }),
      reach: fc.integer({ min: 0, max: 4 }),
      seed: fc.nat(999),
    })
    .chain((stub) =>
      fc.record({
        stub: fc.constant({ ...stub, codeCount: 7 } satisfies StubOptions),
        window: fc.oneof(
          fc.integer({ min: 1, max: stub.columns }).map((size): Window => ({ kind: "fixed", size })),
          fc.constantFrom(...ADAPTIVE.filter((w) => w.kind === "adaptive" && w.min <= stub.columns)),
        ),
        refreshRowEnds: fc.boolean(),
        share: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
    );

async function runTo(
  share: number,
  stub: StubOptions,
  window: Window,
  refreshRowEnds: boolean,
): Promise<{ trace: readonly TraceStep[]; state: SequenceState }> {
  const whole = await recordStub(stub, window, { refreshRowEnds });
  const forwards = 1 + Math.floor(share * (whole.trace.length - 1));
  return recordStub(stub, window, { refreshRowEnds, forwards });
}

describe("rebuilding lost K/V", () => {
  test("shows every query exactly the versions of slots that it saw at first, and leaves the newest of each", async () => {
    await fc.assert(
      fc.asyncProperty(interrupted(7), async ({ stub, window, refreshRowEnds, share }) => {
        const { trace, state } = await runTo(share, stub, window, refreshRowEnds);
        const original = replayOriginal(trace);
        for (const limit of [1, 5, 1024]) {
          const { seen, versions, tokens } = runRebuild(planRebuild(state.fed, limit));
          for (const [query, slots] of seen) expect(slots, query).toBe(original.seen.get(query));
          for (const slot of visibleAfter(state)) {
            expect(versions.get(slot), `slot ${slot}`).toBe(original.versions.get(slot));
          }
          for (const [query, token] of tokens) expect(token, query).toBe(original.tokens.get(query));
        }
      }),
      { numRuns: runs(400), seed: 1 },
    );
  });

  test("takes as few forwards as any division of the steps allows", async () => {
    let divisions = 0;
    await fc.assert(
      fc.asyncProperty(interrupted(4), async ({ stub, window, refreshRowEnds, share }) => {
        const { trace, state } = await runTo(share, stub, window, refreshRowEnds);
        if (trace.length > 11) return;
        const planned = planRebuild(state.fed);
        const original = replayOriginal(trace);
        const needed = neededQueries(original, visibleAfter(state));
        expect(
          new Set(planned.flatMap(({ queries }) => queries.map(({ slot, step }) => `${slot}@${step}`))),
        ).toEqual(needed);
        divisions += 1;
        expect(planned.length).toBe(fewestForwards(state, needed, original));
      }),
      { numRuns: runs(150), seed: 2 },
    );
    if (triesAllCases) expect(divisions).toBeGreaterThan(50);
  });

  test("of next-token order and of families with row-end tokens is one forward, up to its limit of queries", async () => {
    const emu: StubOptions = { rows: 20, columns: 20, rowEnd: "token", promptLength: 3 };
    for (const size of [1, 7, 20]) {
      const { state, trace } = await recordStub(emu, { kind: "fixed", size });
      expect(trace.length).toBeGreaterThan(30);
      expect(planRebuild(state.fed, 10_000)).toHaveLength(1);
      const limited = planRebuild(state.fed, 100);
      expect(limited.length).toBeLessThanOrEqual(5);
      for (const { queries } of limited) expect(queries.length).toBeLessThanOrEqual(100);
    }
    const raster = await recordStub({ rows: 9, columns: 9 }, { kind: "fixed", size: 9 });
    expect(planRebuild(raster.state.fed)).toHaveLength(1);
  });

  test("of a family without row-end tokens is about a forward per row, since each row's end is overwritten once", async () => {
    const { state, trace } = await recordStub({ rows: 24, columns: 24 }, { kind: "fixed", size: 8 });
    expect(trace).toHaveLength(208);
    expect(planRebuild(state.fed).length).toBeLessThanOrEqual(24);
  });

  test("of nothing is nothing, and a step larger than the limit is dealt out to several forwards", async () => {
    expect(planRebuild({ slots: [], tokens: [], steps: [] })).toEqual([]);
    const { state } = await recordStub({ rows: 2, columns: 2, promptLength: 9 }, { kind: "fixed", size: 1 });
    expect(planRebuild(state.fed, 4).map(({ queries }) => queries.map(({ slot }) => slot))).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10, 11],
    ]);
  });
});

interface Replayed {
  readonly seen: Map<string, Seen>;
  readonly tokens: Map<string, number>;
  readonly versions: Versions;
}

/** The forwards as they were: what every query saw. */
function replayOriginal(trace: readonly TraceStep[]): Replayed {
  const versions: Versions = new Map();
  const seen = new Map<string, Seen>();
  const tokens = new Map<string, number>();
  for (const [step, { queries, runs: written }] of trace.entries()) {
    for (const { slot } of queries) versions.set(slot, step);
    for (const { slot, token } of queries) {
      tokens.set(`${slot}@${step}`, token);
      const visible = slotsOf(written).filter((other) => other <= slot);
      seen.set(`${slot}@${step}`, visible.map((other) => `${other}@${versions.get(other)}`).join(" "));
    }
  }
  return { seen, tokens, versions };
}

/** The worker's rule for a forward with steps: a query does not see what those of later steps write in it. */
function runRebuild(forwards: readonly RebuildForward[]): Replayed {
  const versions: Versions = new Map();
  const seen = new Map<string, Seen>();
  const tokens = new Map<string, number>();
  for (const { queries, runs: written } of forwards) {
    const fresh: Versions = new Map();
    for (const { slot, step } of queries) {
      expect(fresh.has(slot), "a slot is fed once in a forward").toBe(false);
      fresh.set(slot, step);
    }
    for (const { slot, token, step, want } of queries) {
      expect(want).toEqual({ type: "none" });
      const visible = slotsOf(written).filter((other) => other <= slot && (fresh.get(other) ?? -1) <= step);
      tokens.set(`${slot}@${step}`, token);
      seen.set(
        `${slot}@${step}`,
        visible.map((other) => `${other}@${fresh.get(other) ?? versions.get(other)}`).join(" "),
      );
    }
    for (const [slot, step] of fresh) versions.set(slot, step);
  }
  return { seen, tokens, versions };
}

/** Slots that the sequence's next forward may attend to. */
function visibleAfter({ written, grid, promptLength }: SequenceState): readonly number[] {
  const stride = grid.columns + (grid.rowEnd === "token" ? 1 : 0);
  const slots = Array.from({ length: promptLength }, (_, slot) => slot);
  for (let row = 0; row < grid.rows; row++) {
    for (let k = 0; k < (written.cellCounts[row] as number); k++) slots.push(promptLength + row * stride + k);
    if (written.rowEnds[row] === 1) slots.push(promptLength + row * stride + stride - 1);
  }
  return [...new Set(slots)];
}

/** Everything that the visible slots depend on, by following what each query saw. */
function neededQueries({ seen, versions }: Replayed, visible: readonly number[]): Set<string> {
  const needed = new Set<string>();
  const open = visible.map((slot) => `${slot}@${versions.get(slot)}`);
  for (let query = open.pop(); query !== undefined; query = open.pop()) {
    if (needed.has(query)) continue;
    needed.add(query);
    open.push(...(seen.get(query) as string).split(" "));
  }
  return needed;
}

/** Tries every division of the steps into consecutive forwards. */
function fewestForwards({ fed }: SequenceState, needed: ReadonlySet<string>, original: Replayed): number {
  const steps = fedBySteps(fed).flatMap((indices, step) => {
    const slots = indices.map((k) => fed.slots[k] as number).filter((slot) => needed.has(`${slot}@${step}`));
    return slots.length === 0 ? [] : [{ step, slots }];
  });
  let fewest = Number.POSITIVE_INFINITY;
  for (let cuts = 0; cuts < 2 ** (steps.length - 1); cuts++) {
    const groups: (typeof steps)[] = [];
    for (const [k, step] of steps.entries()) {
      if (k === 0 || (cuts & (1 << (k - 1))) !== 0) groups.push([step]);
      else groups.at(-1)?.push(step);
    }
    if (groups.length < fewest && isFaithful(groups, original)) fewest = groups.length;
  }
  return fewest;
}

function isFaithful(
  groups: readonly (readonly { readonly step: number; readonly slots: readonly number[] }[])[],
  original: Replayed,
): boolean {
  const versions: Versions = new Map();
  for (const group of groups) {
    const fresh: Versions = new Map();
    for (const { step, slots } of group) {
      for (const slot of slots) {
        if (fresh.has(slot)) return false;
        fresh.set(slot, step);
      }
    }
    const written = [...new Set([...versions.keys(), ...fresh.keys()])].sort((a, b) => a - b);
    for (const { step, slots } of group) {
      for (const slot of slots) {
        const visible = written.filter((other) => other <= slot && (fresh.get(other) ?? -1) <= step);
        const seen = visible.map((other) => `${other}@${fresh.get(other) ?? versions.get(other)}`).join(" ");
        if (seen !== original.seen.get(`${slot}@${step}`)) return false;
      }
    }
    for (const [slot, step] of fresh) versions.set(slot, step);
  }
  return true;
}

function slotsOf(written: Int32Array): number[] {
  const slots: number[] = [];
  for (let k = 0; k < written.length; k += 2) {
    for (let slot = written[k] as number; slot < (written[k + 1] as number); slot++) slots.push(slot);
  }
  return slots;
}
