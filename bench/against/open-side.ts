/** Starts what is timed: the decoding loop of others in a Python process of its own, and ours. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { execa } from "execa";
import type { Engine } from "#zipar/index";
import { python, pythonEnvironment } from "../python.ts";
import type { Family, OtherSide, OwnSide } from "./families.ts";
import type { ImageRun } from "./figures.ts";

export interface OpenSide {
  /** Of the process that computes. */
  readonly pid: number | undefined;
  image(prompt: string): Promise<ImageRun>;
  close(): Promise<void>;
}

/** @throws Error where the loop cannot be loaded or ends: its standard error, which says why, is that of this process */
export async function openOther(
  { loop, name }: OtherSide,
  { guidanceScale }: Family,
  model: string,
  checkout: string | undefined,
): Promise<OpenSide> {
  const options = ["--model", model, "--guidance", String(guidanceScale)];
  const child = execa(
    python,
    ["-m", "zipar_testing.against", ...loop, ...options, ...(checkout ? ["--checkout", checkout] : [])],
    { env: pythonEnvironment, stdio: ["pipe", "pipe", "inherit"], buffer: false, reject: false },
  );
  child.stdin.on("error", () => {}); // a process that is gone is told by the end of its lines
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`bench: the process of "${name}" ended early; its own message stands above`);
    return JSON.parse(value);
  };
  await answer();
  return {
    pid: child.pid,
    image(prompt) {
      child.stdin.write(`${JSON.stringify(prompt)}\n`);
      return answer() as Promise<ImageRun>;
    },
    async close() {
      child.stdin.end();
      await child;
    },
  };
}

/** All own sides share an engine, whose worker holds the weights once. */
export function openOwn({ generate }: OwnSide, { name, guidanceScale }: Family, engine: Engine): OpenSide {
  return {
    pid: engine.workerPid,
    async image(prompt) {
      const condition = name === "llamagen" ? { classLabel: Number(prompt) } : { prompt };
      const startedAt = performance.now();
      const { tokens, stats } = await engine.generate({
        ...condition,
        ...generate,
        guidanceScale,
        temperature: 0,
        image: false,
      });
      const seconds = (performance.now() - startedAt) / 1000;
      if (stats.restarts > 0) throw new Error("bench: the worker was lost within an image: run it again");
      return { forwards: stats.forwards, seconds, codes: tokens.flat() };
    },
    close: () => engine.dispose(),
  };
}

/** The most that a process ever held in RAM (Linux). */
export function peakBytesOf(pid: number | undefined): number | undefined {
  try {
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return kibibytes === undefined ? undefined : 1024 * Number(kibibytes);
  } catch {
    return undefined;
  }
}
