import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { reasonOf } from "../errors.ts";
import { inspectPythonEnvironment, type PythonEnvironment } from "../python/environment.ts";
import { packageRoot, thisMachine } from "../python/location.ts";
import { findUv } from "../python/managed/uv.ts";
import { type PythonProbe, probePython } from "../python/probe.ts";
import { REMEDY, reasonAgainstSockets } from "../system/native-modules.ts";
import type { ValuesOf } from "./option.ts";
import type { DOCTOR } from "./options.ts";

/** One thing that was looked at. */
export interface Finding {
  readonly name: string;
  /** problem: images cannot be generated. */
  readonly state: "good" | "warning" | "problem";
  readonly found: string;
  readonly remedy?: string;
}

/** `zipar doctor`. Resolves to the exit code: 1 when images cannot be generated. */
export async function runDoctor({ json }: ValuesOf<typeof DOCTOR>): Promise<number> {
  const environment = await inspectPythonEnvironment();
  const findings = [
    examineNode(process.versions.node),
    examinePackage(),
    await examineModule("zeromq"),
    await examineModule("sharp"),
    await examineUv(),
    ...(await examinePython(environment)),
    examineDemo(join(packageRoot, "checkpoints", "demo")),
  ];
  const works = findings.every(({ state }) => state !== "problem");
  const report = json ? JSON.stringify({ works, findings }) : describeFindings(findings, works);
  process.stdout.write(`${report}\n`);
  return works ? 0 : 1;
}

export function examineNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isRecent = major > 20 || (major === 20 && minor >= 11);
  if (isRecent) return { name: "Node", state: "good", found: version };
  return {
    name: "Node",
    state: "problem",
    found: `${version}, too old`,
    remedy: "install Node 22 or 24; 20.11 is the oldest that works",
  };
}

function examinePackage(): Finding {
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    version: string;
  };
  return { name: "zipar", state: "good", found: `${version} in ${packageRoot}` };
}

/** Loads a package with a native part, which may be missing for this platform. */
async function examineModule(name: "zeromq" | "sharp"): Promise<Finding> {
  const reason = name === "zeromq" ? reasonAgainstSockets() : undefined;
  if (reason !== undefined) return { name, state: "problem", found: reason };
  try {
    await import(name);
    return { name, state: "good", found: moduleVersion(name) };
  } catch (error) {
    const found = `cannot be loaded: ${firstLine(error)}`;
    return { name, state: "problem", found, remedy: REMEDY };
  }
}

function moduleVersion(name: string): string {
  const require = createRequire(import.meta.url);
  const folder = require.resolve.paths(name)?.find((path) => existsSync(join(path, name, "package.json")));
  if (!folder) return "loaded";
  return (JSON.parse(readFileSync(join(folder, name, "package.json"), "utf8")) as { version: string })
    .version;
}

async function examineUv(): Promise<Finding> {
  const path = await findUv(thisMachine());
  return { name: "uv", state: "good", found: path ?? "none on PATH; `zipar setup` gets its own" };
}

async function examinePython(environment: PythonEnvironment): Promise<readonly Finding[]> {
  const name = "Python environment";
  if (!environment.installed) {
    const remedy = environment.source === "managed" ? "npx zipar setup" : "correct or unset ZIPAR_PYTHON";
    return [{ name, state: "problem", found: environment.reason, remedy }];
  }
  const found = environment.directory ?? `${environment.python}, chosen by ZIPAR_PYTHON`;
  try {
    const probe = await probePython(environment);
    return [{ name, state: "good", found }, ...describeProbe(probe)];
  } catch (error) {
    const remedy =
      environment.source === "managed"
        ? "npx zipar setup --force"
        : "install the packages of python-worker/requirements.lock into it, or unset ZIPAR_PYTHON";
    return [{ name, state: "problem", found: firstLine(error), remedy }];
  }
}

export function describeProbe(probe: PythonProbe): readonly Finding[] {
  const { python, torch, cuda, threads, memory } = probe;
  const { count, reason } = threads;
  return [
    { name: "Python", state: "good", found: python },
    { name: "PyTorch", state: "good", found: `${torch}${cuda === null ? "" : `, built for CUDA ${cuda}`}` },
    examineDevices(probe),
    { name: "threads", state: "good", found: `${count} on the CPU: ${reason}` },
    {
      name: "memory",
      state: "good",
      found:
        memory === null
          ? "how much is free is not known"
          : `${gibibytes(memory.freeBytes, 2)} free on the CPU${memory.limit === null ? "" : `, by ${memory.limit}`}`,
    },
  ];
}

function examineDevices({ cuda, cudaDevices, gpuProblem }: PythonProbe): Finding {
  const gpus = cudaDevices.map(({ name, memoryBytes, problem }, index) => {
    const place = `cuda:${index} ${name} (${gibibytes(memoryBytes, 0)})`;
    return problem === null ? place : `${place}, which cannot be used`;
  });
  if (gpuProblem !== null) {
    const { found, remedy } = gpuProblem;
    return { name: "devices", state: "warning", found: `cpu alone: ${found}`, remedy };
  }
  const usable = cudaDevices.filter(({ problem }) => problem === null).length;
  const several = usable > 1 ? "; --tensor-parallel splits one model over several" : "";
  const none = cuda === null ? "; PyTorch is a build without CUDA" : "; no GPU was found";
  return {
    name: "devices",
    state: "good",
    found: gpus.length > 0 ? gpus.join(", ") + several : `cpu alone${none}`,
  };
}

function gibibytes(bytes: number, digits: number): string {
  return `${(bytes / 2 ** 30).toFixed(digits)} GiB`;
}

function examineDemo(folder: string): Finding {
  const name = "demo checkpoint";
  const files = existsSync(folder) ? readdirSync(folder) : [];
  if (files.some((file) => /\.(safetensors|pt)$/.test(file))) return { name, state: "good", found: folder };
  const remedy = "install zipar again; other checkpoints work without it";
  return { name, state: "warning", found: `no weights in ${folder}`, remedy };
}

function describeFindings(findings: readonly Finding[], works: boolean): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const marks = { good: "ok     ", warning: "warning", problem: "PROBLEM" };
  const lines = findings.flatMap(({ name, state, found, remedy }) => [
    `${marks[state]}  ${name.padEnd(width)}  ${found}`,
    ...(remedy === undefined ? [] : [`${" ".repeat(width + 11)}-> ${remedy}`]),
  ]);
  return [...lines, "", works ? "Images can be generated." : "Images cannot be generated yet."].join("\n");
}

function firstLine(error: unknown): string {
  return reasonOf(error).split("\n")[0] ?? "";
}
