/**
 * `npm run bench`: what the SDK and the wire cost per forward, and what ZipAR gains on a CPU with the real
 * LlamaGen-B shape, and what it costs to go on after the loss of a worker. Writes bench-output/bench.json and prints the
 * tables. `--wire`, `--model` or `--recovery` run one part alone.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { createEngine, type GenerateOptions, stubProcess } from "#zipar/index";
import { resolvePythonEnvironment } from "#zipar/python/environment";
import { packageRoot } from "#zipar/python/location";
import { benchRecovery, describeRecovery, type RecoveryRow } from "./recovery.ts";

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
  readonly parameters: number;
  readonly readWeightsMs: number;
  readonly settings: readonly WindowFigures[];
}

interface WindowFigures {
  readonly name: string;
  readonly forwards: number;
  readonly msPerForward: number;
  readonly bestMsPerForward: number;
  /** Of the image's time. */
  readonly workerShare: number;
  readonly secondsPerImage: number;
}

interface Report {
  readonly cpu: string | undefined;
  readonly cores: number;
  readonly node: string;
  readonly wire: WireFigures | undefined;
  readonly model: ModelFigures | undefined;
  readonly recovery:
    | { readonly demo: readonly RecoveryRow[]; readonly llamagenB: readonly RecoveryRow[] }
    | undefined;
}

const output = join(packageRoot, "bench-output");
const part = { type: "boolean" } as const;
const { values: flags } = parseArgs({ options: { wire: part, model: part, recovery: part } });
const everything = !flags.wire && !flags.model && !flags.recovery;
const python = findPython();

mkdirSync(output, { recursive: true });
const report: Report = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  node: process.version,
  wire: everything || flags.wire ? await benchWire() : undefined,
  model: everything || flags.model ? await benchModel() : undefined,
  recovery: everything || flags.recovery ? await benchBothRecoveries() : undefined,
};
writeFileSync(join(output, "bench.json"), `${JSON.stringify(report, null, 2)}\n`);
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

const WINDOWS: readonly (readonly [name: string, options: Pick<GenerateOptions, "window" | "lookahead">])[] =
  [
    ["full", { window: "full", lookahead: 0 }],
    ["full, lookahead auto", { window: "full", lookahead: "auto" }],
    ["8", { window: 8, lookahead: 0 }],
    ["8, lookahead auto", { window: 8, lookahead: "auto" }],
    ["4", { window: 4, lookahead: 0 }],
    ["2", { window: 2, lookahead: 0 }],
    ["guessed:4", { window: { kind: "guessed", size: 4 } }],
    ["guessed:2", { window: { kind: "guessed", size: 2 } }],
  ];

/** LlamaGen-B, random weights, float32, guidance 4, top-k 2,000, 16x16 tokens: next-token order against the others. */
async function benchModel(): Promise<ModelFigures> {
  const model = llamagenB();
  await using engine = await createEngine({ model, dtype: "float32", device: "cpu" });
  await engine.generate({ classLabel: 1, window: 4, image: false }); // warm-up
  const settings: WindowFigures[] = [];
  const readMs = [readWeights(engine.card.parameterCount)];
  for (const [name, options] of WINDOWS) {
    const runs: { forwards: number; wallMs: number; workerMs: number }[] = [];
    for (let seed = 1; seed <= (options.window === "full" ? 2 : 3); seed++) {
      const before = await engine.workerStats();
      const { stats } = await engine.generate({
        ...options,
        classLabel: seed,
        seed,
        guidanceScale: 4,
        topK: 2000,
        image: false,
      });
      const after = await engine.workerStats();
      runs.push({ ...stats, workerMs: after.forwardMs - before.forwardMs });
    }
    const best = runs.reduce((a, b) => (b.wallMs < a.wallMs ? b : a));
    const median = medianOf(runs.map(({ wallMs }) => wallMs));
    settings.push({
      name,
      forwards: best.forwards,
      msPerForward: median / best.forwards,
      bestMsPerForward: best.wallMs / best.forwards,
      workerShare: best.workerMs / best.wallMs,
      secondsPerImage: median / 1000,
    });
    readMs.push(readWeights(engine.card.parameterCount));
    console.error(`bench: window ${name} done`);
  }
  return { parameters: engine.card.parameterCount, readWeightsMs: Math.min(...readMs), settings };
}

/** The weights file, made at its first use. */
function llamagenB(): string {
  const model = join(output, "c2i_B_256.pt");
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
      output,
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

function describe({ wire, model, recovery }: Report): string {
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
  if (model) {
    const full = model.settings[0] as WindowFigures;
    lines.push(
      `LlamaGen-B, random weights (${(model.parameters / 1e6).toFixed(0)} M), float32, CPU; ` +
        `reading the weights once takes ${model.readWeightsMs.toFixed(1)} ms`,
      `  ${"window".padEnd(21)}forwards   ms/forward (best)   reads/forward   s/image   faster`,
      ...model.settings.map(
        (s) =>
          `  ${s.name.padEnd(20)} ${String(s.forwards).padStart(8)}` +
          `${`${s.msPerForward.toFixed(1)} (${s.bestMsPerForward.toFixed(1)})`.padStart(20)}` +
          `${(s.msPerForward / model.readWeightsMs).toFixed(2).padStart(16)}${s.secondsPerImage.toFixed(2).padStart(10)}` +
          `${(full.secondsPerImage / s.secondsPerImage).toFixed(2).padStart(8)}x`,
      ),
    );
  }
  if (recovery) {
    lines.push("", describeRecovery("the demo checkpoint", recovery.demo));
    lines.push("", describeRecovery("LlamaGen-B, random weights", recovery.llamagenB));
  }
  return lines.join("\n");
}

function medianOf(values: readonly number[]): number {
  return at(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

function at(sorted: readonly number[], quantile: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(quantile * sorted.length))] as number;
}

function findPython(): string {
  const environment = resolvePythonEnvironment();
  if (!environment.installed) throw new Error(environment.reason);
  return environment.python;
}

function runPython(parameters: readonly string[]): void {
  const environment = { ...process.env, PYTHONPATH: join(packageRoot, "python-worker") };
  execFileSync(python, parameters, { stdio: "inherit", env: environment });
}
