import { execa } from "execa";
import { z } from "zod";
import { ZiparError } from "../errors.ts";
import { diagnosePython } from "./diagnose.ts";
import { isolatedVariables, type PythonProgram, runsModule } from "./isolation.ts";
import { workerFiles } from "./location.ts";
import { throwIfCancelled } from "./throw-if-cancelled.ts";

const probeSchema = z.object({
  python: z.string(),
  torch: z.string(),
  /** CUDA version of the build; null for one without CUDA. */
  cuda: z.string().nullable(),
  /** GPUs that PyTorch sees, those that it cannot use with the reason. */
  cudaDevices: z.array(
    z.object({ name: z.string(), memoryBytes: z.number(), problem: z.string().nullable() }),
  ),
  /** Why no GPU can be used where there seems to be one. */
  gpuProblem: z.object({ found: z.string(), remedy: z.string() }).nullable(),
  threads: z.object({ count: z.number(), reason: z.string() }),
  /** What is free for models on the CPU, and the limit that leaves so little; null where the system does not say. */
  memory: z.object({ freeBytes: z.number(), limit: z.string().nullable() }).nullable(),
});

/** What the worker's interpreter says of itself. */
export type PythonProbe = z.infer<typeof probeSchema>;

const failureSchema = z.object({ error: z.string() });

/** Imports in a fresh process everything that the worker needs; takes as long as importing PyTorch. */
export async function probePython(
  program: PythonProgram,
  root?: string,
  signal?: AbortSignal,
): Promise<PythonProbe> {
  const { python, source } = program;
  const { directory } = workerFiles(root);
  const outcome = await execa(python, [...runsModule("zipar_worker", directory), "--probe"], {
    reject: false,
    stdin: "ignore",
    timeout: 300_000,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    env: isolatedVariables(source),
    extendEnv: false,
  });
  const printed = lastJson(outcome.stdout);
  const probe = probeSchema.safeParse(printed);
  if (!outcome.failed && probe.success) return probe.data;
  throwIfCancelled(signal);
  const failure = failureSchema.safeParse(printed);
  const reason = failure.success
    ? failure.data.error
    : tail(outcome.stderr) || outcome.message || "it printed nothing";
  throw new ZiparError({
    code: "python-environment",
    message: (await diagnosePython(program, directory)) ?? `${python} cannot run zipar's worker: ${reason}.`,
    details: { python, exitCode: outcome.exitCode ?? null },
  });
}

/** Libraries may print above it. */
function lastJson(text: string): unknown {
  try {
    return JSON.parse(text.trim().split("\n").at(-1) ?? "");
  } catch {
    return undefined;
  }
}

function tail(text: string): string {
  return text.trim().split("\n").slice(-5).join("\n");
}
