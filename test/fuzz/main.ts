/**
 * `npm run test:fuzz -- --messages 1000000 --seed 1`: damaged messages against both decoders, side by side.
 *
 * Every message must be taken or refused with a typed error: no crash, no hang, no memory that grows.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { resolvePythonEnvironment } from "#zipar/python/environment";
import { packageRoot } from "#zipar/python/location";
import { type FuzzOutcome, fuzzReplies } from "./replies.ts";

interface SideOutcome extends FuzzOutcome {
  readonly side: string;
  readonly seconds: number;
  readonly grownMiB: number;
}

const { values } = parseArgs({
  options: { messages: { type: "string", default: "1000000" }, seed: { type: "string", default: "1" } },
});
const count = Number(values.messages);
const seed = Number(values.seed);

const outcomes = await Promise.all([fuzzTypeScript(), fuzzPython()]);
console.table(
  outcomes.map(({ side, messages, taken, refused, slowestMs, grownMiB, seconds, problems }) => ({
    side,
    messages,
    taken,
    refused,
    "slowest (ms)": Math.round(slowestMs * 10) / 10,
    "memory grown (MiB)": Math.round(grownMiB),
    "time (s)": Math.round(seconds),
    "not typed": problems.length,
  })),
);
const problems = outcomes.flatMap(({ problems }) => problems);
for (const problem of problems.slice(0, 5)) console.log(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

async function fuzzTypeScript(): Promise<SideOutcome> {
  const before = process.memoryUsage.rss();
  const startedAt = performance.now();
  const outcome = await fuzzReplies({
    count,
    seed,
    onProgress: (done) => process.stderr.write(`\r${done} of ${count} replies`),
  });
  process.stderr.write("\n");
  return {
    side: "TypeScript (replies)",
    ...outcome,
    seconds: (performance.now() - startedAt) / 1000,
    grownMiB: (process.memoryUsage.rss() - before) / 2 ** 20,
  };
}

async function fuzzPython(): Promise<SideOutcome> {
  const environment = resolvePythonEnvironment();
  if (!environment.installed) throw new Error(environment.reason);
  const worker = join(packageRoot, "python-worker");
  const child = spawn(
    environment.python,
    [join(worker, "tests", "fuzz_requests.py"), "--messages", String(count), "--seed", String(seed)],
    { env: { ...process.env, PYTHONPATH: worker }, stdio: ["ignore", "pipe", "inherit"] },
  );
  const output = (await child.stdout.setEncoding("utf8").toArray()).join("");
  const { fatal, refused, ...outcome } = JSON.parse(output);
  return { side: "Python (requests)", ...outcome, refused: refused + fatal };
}
