/**
 * `npm run test:faults`: workers that misbehave on purpose, and what becomes of the images. Every row of the table is
 * checked against what `faults/table.mjs` expects. `--quick` runs a cross-section, `--only WORD` the rows that have the
 * word, `--soak SECONDS` random faults under streams of requests (`--worker demo` with the demo checkpoint), `--parents N`
 * deaths of the program itself. `--seed N` repeats the random choices of the last two.
 */
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { judge } from "./faults/judge.mjs";
import { runInLanes } from "./faults/lanes.mjs";
import { root } from "./faults/load.mjs";
import { complaintsOf, describeParents, runParents, summariseParents } from "./faults/parents.mjs";
import { describeTable, formatMarkdown, formatTable, summarise } from "./faults/report.mjs";
import { describeSoak, isSound, runSoak } from "./faults/soak.mjs";
import { faultFree, fullTable, quickTable } from "./faults/table.mjs";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean" },
    only: { type: "string" },
    lanes: { type: "string", default: String(availableParallelism() + 1) },
    soak: { type: "string" },
    worker: { type: "string", default: "stub" },
    seed: { type: "string" },
    parents: { type: "string" },
    slack: { type: "string", default: "1" },
    json: { type: "boolean" },
    markdown: { type: "boolean" },
    "skip-setup": { type: "boolean" },
  },
});
const say = (text) => process.stderr.write(`${text}\n`);

if (process.platform !== "linux") {
  say("npm run test:faults needs Linux: it finds what is left behind in /proc");
  process.exit(2);
}
if (!flags["skip-setup"]) {
  const setUp = spawnSync(process.execPath, [join(root, "scripts", "setup.mjs")], {
    stdio: ["ignore", 2, 2],
  });
  if (setUp.status !== 0) process.exit(setUp.status ?? 1);
}
const laneCount = Number(flags.lanes);
const seed = flags.seed === undefined ? Date.now() % 2 ** 31 : Number(flags.seed);
const { report, text, passed } = await runWanted();
process.stdout.write(flags.json ? `${JSON.stringify(report, null, 1)}\n` : `${text}\n`);
process.exitCode = passed ? 0 : 1;

function runWanted() {
  if (flags.soak !== undefined) return soak(Number(flags.soak));
  if (flags.parents !== undefined) return killParents(Number(flags.parents));
  return runTable(rowsOf(flags));
}

async function soak(seconds) {
  say(`soak: ${seconds} s, seed ${seed}`);
  const tally = await runSoak(seconds, {
    worker: flags.worker,
    seed,
    laneCount,
    onStream: ({ seconds: passed, images, equal, restarts, wrong }) =>
      say(
        `[${passed.toFixed(0)} s] ${images} images, ${equal} equal, ${restarts} workers replaced, ${wrong.length} wrong`,
      ),
  });
  return { report: { seed, ...tally }, text: describeSoak(tally), passed: isSound(tally) };
}

async function killParents(count) {
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

function rowsOf({ quick, only }) {
  const rows = quick ? quickTable() : fullTable();
  if (only === undefined) return rows;
  return rows.filter((row) => [row.worker, row.name, row.phase, row.images].includes(only));
}

async function runTable(rows) {
  const startedAt = performance.now();
  const digests = await digestsOf(new Set(rows.map(({ worker }) => worker)));
  const judged = new Map();
  await runInLanes(rows, {
    laneCount,
    onRow(row, observed) {
      const verdict = judge(row, observed, { digests: digests[row.worker], slack: Number(flags.slack) });
      judged.set(row.id, { row, verdict, observed });
      const what = `${row.worker}, ${row.name} in ${row.phase}, ${row.images}: ${verdict.ends}`;
      const complaint =
        verdict.complaints.length > 0 ? ` (UNEXPLAINED: ${verdict.complaints.join("; ")})` : "";
      say(`[${judged.size}/${rows.length}] ${what}${complaint}`);
    },
  });
  const inOrder = rows.map(({ id }) => judged.get(id));
  const summary = { ...summarise(inOrder), seconds: (performance.now() - startedAt) / 1000 };
  return {
    report: { ...summary, table: inOrder },
    text: `${flags.markdown ? formatMarkdown(inOrder) : formatTable(inOrder)}\n\n${describeTable(summary)}`,
    passed: summary.unexplained === 0,
  };
}

/** The images without any fault, by worker and by set of requests. */
async function digestsOf(workers) {
  const digests = {};
  await runInLanes(faultFree([...workers]), {
    laneCount: 1,
    onRow(row, { outcomes, lost, message }) {
      const failed = outcomes.find(({ code }) => code !== undefined);
      if (lost !== undefined || failed !== undefined)
        throw new Error(`the run without faults failed: ${message ?? failed?.message ?? lost}`);
      digests[row.worker] ??= {};
      digests[row.worker][row.images] = outcomes.map(({ digest }) => digest);
    },
  });
  return digests;
}
