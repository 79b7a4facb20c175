/**
 * `npm run bench`: what the SDK and the wire cost per forward, and what ZipAR gains on a CPU with the real
 * LlamaGen-B shape, and what it costs to go on after the loss of a worker. Writes bench-output/bench.json and prints the
 * tables. `--wire`, `--model`, `--recovery`, `--workers`, `--serve`, `--busy` or `--start` run one part alone. `--against`, which takes
 * many minutes and checkouts of others, runs only where it is named.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { createEngine, stubProcess } from "#zipar/index";
import { benchAgainst, describeAgainst } from "./against/bench-against.ts";
import { againstFlags, resolveAgainst } from "./against/options.ts";
import type { FamilyReport } from "./against/table.ts";
import { type BusyFigures, benchBusy, describeBusy } from "./busy.ts";
import { benchSettings, describeSettings, type SettingFigures } from "./models.ts";
import { outputFolder, python, runPython } from "./python.ts";
import { benchRecovery, describeRecovery, type RecoveryRow } from "./recovery.ts";
import { benchServe, describeServe, type ServeFigures } from "./serve.ts";
import { benchStart, describeStart, type StartFigures } from "./start.ts";
import { benchWorkers, describeWorkers, type WorkersFigures } from "./workers.ts";

interface WireFigures {
  readonly forwardCount: number;
  readonly queriesPerForward: number;
  readonly totalMs: Quantiles;
  readonly stubComputingMs: number;
  readonly overheadMs: Quantiles;
}

interface Quantiles {
  readonly median: number;
  readonly p95: number;
}

interface ModelFigures {
  readonly demo: readonly SettingFigures[];
  readonly llamagenB: readonly SettingFigures[];
  /** The least time in which this machine reads LlamaGen-B's weights once. */
  readonly readLlamagenBMs: number;
}

interface Report {
  readonly cpu: string | undefined;
  readonly cores: number;
  readonly node: string;
  readonly wire: WireFigures | undefined;
  readonly models: ModelFigures | undefined;
  readonly workers: WorkersFigures | undefined;
  readonly serve: ServeFigures | undefined;
  readonly busy: BusyFigures | undefined;
  readonly start: StartFigures | undefined;
  readonly against: readonly FamilyReport[] | undefined;
  readonly recovery:
    | { readonly demo: readonly RecoveryRow[]; readonly llamagenB: readonly RecoveryRow[] }
    | undefined;
}

const LLAMAGEN_B_PARAMETERS = 111_000_000;

const part = { type: "boolean" } as const;
const parts = {
  ...{ wire: part, model: part, workers: part, recovery: part, serve: part },
  ...{ busy: part, start: part },
};
const { values: flags } = parseArgs({ options: { ...parts, ...againstFlags } });
const against = resolveAgainst(flags, outputFolder);
const everything = Object.keys(flags).length === 0;

mkdirSync(outputFolder, { recursive: true });
const report: Report = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  node: process.version,
  wire: everything || flags.wire ? await benchWire() : undefined,
  models: everything || flags.model ? await benchModels() : undefined,
  workers: everything || flags.workers ? await benchAllWorkers() : undefined,
  serve: everything || flags.serve ? await benchServe() : undefined,
  recovery: everything || flags.recovery ? await benchBothRecoveries() : undefined,
  busy: everything || flags.busy ? await benchBusy() : undefined,
  start: everything || flags.start ? await benchStart() : undefined,
  against: against && (await benchAgainst(against)),
};
writeFileSync(join(outputFolder, "bench.json"), `${JSON.stringify(report, null, 2)}\n`);
console.log(describe(report));

/** Forwards of 16 queries on the stub behind the real wire: everything but the stub's own computing is overhead. */
async function benchWire(): Promise<WireFigures> {
  const rows = 160;
  const columns = 64;
  const queriesPerForward = 16;
  const worker = stubProcess({ rows, columns, reach: 3, codeCount: 16384 });
  await using engine = await createEngine({ worker });
  await engine.generate({ classLabel: 0, window: 4, seed: 0, topK: 2048, image: false }); // warm-up
  const before = await engine.workerStats();
  const times: number[] = [];
  for (let seed = 1; times.length < 2_500; seed++) {
    let previous: number | undefined;
    for await (const event of engine.generate({
      classLabel: 0,
      window: 4,
      lookahead: 0,
      seed,
      topK: 2048,
      image: false,
    })) {
      const now = performance.now();
      if (event.type === "step" && event.cells.length === queriesPerForward) {
        if (previous !== undefined) times.push(now - previous);
        previous = now;
      } else previous = undefined;
    }
  }
  const after = await engine.workerStats();
  const workerMs = (after.forwardMs - before.forwardMs) / (after.forwardCount - before.forwardCount);
  const sorted = times.sort((a, b) => a - b);
  const total = { median: at(sorted, 0.5), p95: at(sorted, 0.95) };
  return {
    forwardCount: sorted.length,
    queriesPerForward,
    totalMs: total,
    stubComputingMs: workerMs,
    overheadMs: { median: total.median - workerMs, p95: total.p95 - workerMs },
  };
}

/** The demo checkpoint, and LlamaGen-B with random weights. */
async function benchBothRecoveries() {
  const options = { device: "cpu", dtype: "float32" } as const;
  const request = { classLabel: 1, guidanceScale: 4 };
  return {
    demo: await benchRecovery({ ...options, model: "demo" }, ["full", 8, 4, 2], request),
    llamagenB: await benchRecovery({ ...options, model: llamagenB() }, [8, 4], request),
  };
}

function benchAllWorkers() {
  const options = { device: "cpu", dtype: "float32" } as const;
  return benchWorkers([
    ["demo", { ...options, model: "demo" }, {}],
    ["LlamaGen-B", { ...options, model: llamagenB() }, { guidanceScale: 4, topK: 2000 }],
  ]);
}

/** The demo checkpoint at its own sampling, and LlamaGen-B at that of its paper: guidance 4, top-k 2,000. */
async function benchModels(): Promise<ModelFigures> {
  const options = { device: "cpu", dtype: "float32" } as const;
  const demo = await benchSettings({ ...options, model: "demo" }, {}, () => true);
  console.error("bench: the demo checkpoint is done");
  const readBefore = readWeights(LLAMAGEN_B_PARAMETERS);
  const large = await benchSettings(
    { ...options, model: llamagenB() },
    { guidanceScale: 4, topK: 2000 },
    // Random weights make guesses fall, and a batch of guessed windows then takes minutes.
    (name) => !name.startsWith("guessed"),
  );
  return {
    demo,
    llamagenB: large,
    readLlamagenBMs: Math.min(readBefore, readWeights(LLAMAGEN_B_PARAMETERS)),
  };
}

/** The weights file, made at its first use. */
function llamagenB(): string {
  const model = join(outputFolder, "c2i_B_256.pt");
  if (!existsSync(model)) {
    console.error("bench: making random weights of the LlamaGen-B shape");
    runPython([
      "-m",
      "zipar_testing.tiny",
      "llamagen",
      "--shape",
      "B",
      "--size",
      "256",
      "--seed",
      "1",
      "--out",
      outputFolder,
    ]);
  }
  return model;
}

/** The least time in which this machine reads as many float32 weights once, in ms. */
function readWeights(parameterCount: number): number {
  const script = [
    "import time, torch",
    `weights = torch.ones(${parameterCount})`,
    "def read():",
    "    start = time.perf_counter(); weights.sum(); return time.perf_counter() - start",
    "print(1000 * min(read() for _ in range(12)))",
  ].join("\n");
  return Number(execFileSync(python, ["-c", script], { encoding: "utf8" }));
}

function describe({ wire, models, workers, serve, recovery, busy, start, against }: Report): string {
  const lines: string[] = [];
  if (wire) {
    const { totalMs, stubComputingMs, overheadMs, forwardCount, queriesPerForward } = wire;
    lines.push(
      `SDK and wire, ${queriesPerForward} queries a forward, ${forwardCount} forwards (ms)`,
      `  whole forward   median ${totalMs.median.toFixed(3)}   p95 ${totalMs.p95.toFixed(3)}`,
      `  stub computing  mean   ${stubComputingMs.toFixed(3)}`,
      `  overhead        median ${overheadMs.median.toFixed(3)}   p95 ${overheadMs.p95.toFixed(3)}`,
      "",
    );
  }
  if (models) {
    lines.push("The demo checkpoint, float32, CPU", ...describeSettings(models.demo), "");
    lines.push(
      `LlamaGen-B, random weights, float32, CPU; reading the weights once takes ${models.readLlamagenBMs.toFixed(1)} ms`,
      ...describeSettings(models.llamagenB),
    );
  }
  if (workers) lines.push("", ...describeWorkers(workers));
  if (serve) lines.push("", ...describeServe(serve));
  if (recovery) {
    lines.push("", describeRecovery("the demo checkpoint", recovery.demo));
    lines.push("", describeRecovery("LlamaGen-B, random weights", recovery.llamagenB));
  }
  if (busy) lines.push("", ...describeBusy(busy));
  if (start) lines.push("", ...describeStart(start));
  if (against) lines.push("", ...describeAgainst(against));
  return lines.join("\n");
}

function at(sorted: readonly number[], quantile: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(quantile * sorted.length))] as number;
}
