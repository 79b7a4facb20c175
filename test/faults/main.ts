/**
 * `npm run test:faults`: workers that misbehave on purpose, and what becomes of the images. Every row of the table is
 * checked against what `table.ts` expects. `--quick` runs a cross-section, `--only WORD` the rows that have the
 * word, `--soak SECONDS` random faults under streams of requests (`--worker demo` with the demo checkpoint, `--workers 3` with three behind each engine), `--parents N`
 * deaths of the program itself. `--seed N` repeats the random choices of the last two. `--slack N` gives the rows of the
 * table N times as long, on a machine that has other work.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { runInLanes } from "./lanes.ts";
import { complaintsOf, describeParents, runParents, summariseParents } from "./parents.ts";
import { describeTable, formatMarkdown, formatTable, summarise } from "./report.ts";
import { describeSoak, isSound, runSoak } from "./soak.ts";
import { writeSplitModel } from "./split-model.ts";
import { faultFree, fullTable, quickTable } from "./table.ts";
import type { CalmRow, ImageSet, Row, RowOutcome, WorkerKind } from "./types.ts";
import { type Digests, verdictOf } from "./verdict.ts";

interface Result {
  /** As `--json` prints it. */
  readonly report: object;
  readonly text: string;
  readonly passed: boolean;
}

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean" },
    only: { type: "string" },
    lanes: { type: "string", default: String(availableParallelism() + 1) },
    soak: { type: "string" },
    worker: { type: "string", default: "stub" },
    workers: { type: "string", default: "1" },
    seed: { type: "string" },
    parents: { type: "string" },
    slack: { type: "string", default: "1" },
    json: { type: "boolean" },
    markdown: { type: "boolean" },
  },
});
const say = (text: string) => process.stderr.write(`${text}\n`);

if (process.platform !== "linux") {
  say("npm run test:faults needs Linux: it finds what is left behind in /proc");
  process.exit(2);
}
const laneCount = Number(flags.lanes);
const slack = Number(flags.slack);
const seed = flags.seed === undefined ? Date.now() % 2 ** 31 : Number(flags.seed);
/** The checkpoint of the rows whose model is split, while they run. */
let splitModel = "";
const { report, text, passed } = await runWanted();
process.stdout.write(flags.json ? `${JSON.stringify(report, null, 1)}\n` : `${text}\n`);
process.exitCode = passed ? 0 : 1;

function runWanted(): Promise<Result> {
  if (flags.soak !== undefined) return soak(Number(flags.soak));
  if (flags.parents !== undefined) return killParents(Number(flags.parents));
  return runTableWithModel(wantedRows());
}

async function runTableWithModel(rows: readonly Row[]): Promise<Result> {
  if (rows.every(({ worker }) => worker !== "group")) return runTable(rows);
  splitModel = mkdtempSync(join(tmpdir(), "zipar-test-split-"));
  try {
    await writeSplitModel(splitModel);
    return await runTable(rows);
  } finally {
    rmSync(splitModel, { recursive: true });
  }
}

async function soak(seconds: number): Promise<Result> {
  say(`soak: ${seconds} s, seed ${seed}`);
  const tally = await runSoak(seconds, {
    worker: flags.worker === "demo" ? "demo" : "stub",
    workerCount: Number(flags.workers),
    seed,
    laneCount,
    onStream: ({ seconds: passed, images, equal, restarts, wrong }) =>
      say(
        `[${passed.toFixed(0)} s] ${images} images, ${equal} equal, ${restarts} workers replaced, ${wrong.length} wrong`,
      ),
  });
  return { report: { seed, ...tally }, text: describeSoak(tally), passed: isSound(tally) };
}

async function killParents(count: number): Promise<Result> {
  say(`parents: ${count}, seed ${seed}`);
  const parents = await runParents(count, {
    seed,
    laneCount,
    onParent(parent, done) {
      const what = `${parent.worker}, ${parent.way} in ${parent.phase}`;
      const complaints = complaintsOf(parent);
      if (complaints.length > 0) say(`[${done}/${count}] ${what}: ${complaints.join("; ")}`);
      else if (done % 10 === 0) say(`[${done}/${count}] nothing left`);
    },
  });
  const summary = summariseParents(parents);
  return {
    report: { seed, ...summary, parents },
    text: describeParents(summary),
    passed: summary.complaints === 0,
  };
}

function wantedRows(): readonly Row[] {
  const { quick, only } = flags;
  const rows = quick ? quickTable() : fullTable();
  if (only === undefined) return rows;
  return rows.filter(({ worker, name, phase, images }) =>
    [worker, name, ...name.split(/[ ,]+/), phase, images].includes(only),
  );
}

async function runTable(wanted: readonly Row[]): Promise<Result> {
  const rows = wanted.map(prepared);
  const startedAt = performance.now();
  const digests = await digestsOf(new Set(rows.map(({ worker }) => worker)));
  const outcomes = new Map<number, RowOutcome>();
  await runInLanes(rows, {
    laneCount,
    onEnd(row, observed) {
      const verdict = verdictOf(row, observed, {
        digests: digests.get(row.worker) as Digests,
        slack,
      });
      outcomes.set(row.id, { row, verdict, observed });
      const what = `${row.worker}, ${row.name} in ${row.phase}, ${row.images}: ${verdict.ends}`;
      const complaint =
        verdict.complaints.length > 0 ? ` (UNEXPLAINED: ${verdict.complaints.join("; ")})` : "";
      say(`[${outcomes.size}/${rows.length}] ${what}${complaint}`);
    },
  });
  const inOrder = rows.flatMap(({ id }) => outcomes.get(id) ?? []);
  const summary = { ...summarise(inOrder), seconds: (performance.now() - startedAt) / 1000 };
  return {
    report: { ...summary, table: inOrder },
    text: `${flags.markdown ? formatMarkdown(inOrder) : formatTable(inOrder)}\n\n${describeTable(summary)}`,
    passed: summary.unexplained === 0,
  };
}

/** With slack, but how soon a worker that hangs is given up stays as it is: a fault's expectation depends on it. */
function prepared<AnyRow extends CalmRow>(row: AnyRow): AnyRow {
  const { startTimeoutMs } = row.engine;
  return {
    ...row,
    limitMs: slack * row.limitMs,
    engine: {
      ...row.engine,
      ...(row.worker === "group" ? { model: splitModel } : {}),
      startTimeoutMs: startTimeoutMs && slack * startTimeoutMs,
    },
  };
}

/** The images without any fault, by worker and by set of requests. */
async function digestsOf(workers: ReadonlySet<WorkerKind>): Promise<ReadonlyMap<WorkerKind, Digests>> {
  const digests = new Map<WorkerKind, Record<ImageSet, readonly string[]>>();
  await runInLanes(faultFree([...workers]).map(prepared), {
    laneCount: 1,
    onEnd({ worker, images }, { outcomes, lost, message }) {
      const failed = outcomes.find((outcome) => "code" in outcome);
      if (lost !== undefined || failed !== undefined)
        throw new Error(`the run without faults failed: ${message ?? failed?.message ?? lost}`);
      const drawn = outcomes.flatMap((outcome) => ("digest" in outcome ? outcome.digest : []));
      digests.set(worker, { one: [], many: [], ...digests.get(worker), [images]: drawn });
    },
  });
  return digests;
}
