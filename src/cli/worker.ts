import { execa } from "execa";
import { splitDevices } from "../api/places.ts";
import { ZiparError } from "../errors.ts";
import { diagnosePython } from "../python/diagnose.ts";
import { requirePython } from "../python/environment.ts";
import { isolatedVariables, type PythonProgram, runsModule } from "../python/isolation.ts";
import { threadVariables } from "../python/thread-variables.ts";
import { interruptExitCode, interruptSignal } from "./interrupt.ts";
import type { ValuesOf } from "./option.ts";
import type { WORKER } from "./options.ts";

type WorkerOptions = ValuesOf<typeof WORKER>;

/** Exit codes of the Python side after which another try would end alike: told to end, bad input, turned away. */
const FINAL_EXIT_CODES: ReadonlySet<number | undefined> = new Set([0, 2, 77]);
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
const STOP_GRACE_MS = 2_000;

/**
 * `zipar worker`: serves an engine elsewhere until it is told to end; then it finishes its images within `--drain`, and ends
 * with 0. Resolves to the exit code.
 */
export async function runWorker(options: WorkerOptions): Promise<number> {
  const environment = requirePython();
  const [device = options.device] = await splitDevices(options.device, options.tensorParallel);
  const interrupt = interruptSignal();
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    const startedAt = performance.now();
    const { exitCode, signal } = await runPython(environment, { ...options, device }, interrupt);
    if (interrupt.aborted) return exitCode === 0 && options.drain > 0 ? 0 : (interruptExitCode() ?? 1);
    if (exitCode !== 0) await checkPython(environment);
    if (FINAL_EXIT_CODES.has(exitCode)) return exitCode as number;
    if (performance.now() - startedAt > LONGEST_PAUSE_MS) pauseMs = FIRST_PAUSE_MS;
    const reason = signal === undefined ? `exit code ${exitCode}` : signal;
    process.stderr.write(`zipar worker: it ended (${reason}); starting again in ${pauseMs / 1000} s\n`);
    await pause(pauseMs, interrupt);
    if (interrupt.aborted) return interruptExitCode() ?? 1;
    pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
  }
}

async function runPython({ python, source }: PythonProgram, options: WorkerOptions, interrupt: AbortSignal) {
  const child = execa(python, [...runsModule("zipar_worker"), ...describeOptions(options)], {
    stdin: "pipe", // its end tells the worker that we died
    stdout: "inherit",
    stderr: "inherit",
    buffer: false,
    reject: false,
    env: { ...isolatedVariables(source), ...threadVariables(options) },
    extendEnv: false,
    windowsHide: true,
  });
  const end = () => {
    child.stdin.end();
    setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS).unref();
  };
  const stop = () => {
    const { drain } = options;
    if (drain === 0) return end();
    child.stdin.write("leave\n");
    setTimeout(end, 1000 * drain + STOP_GRACE_MS).unref();
    process.stderr.write(
      `zipar worker: it ends once its images are done, within ${drain} s; again: at once\n`,
    );
  };
  interrupt.addEventListener("abort", stop, { once: true });
  if (interrupt.aborted) stop();
  const { exitCode, signal } = await child;
  interrupt.removeEventListener("abort", stop);
  return { exitCode, signal };
}

/** @throws ZiparError `python-environment` where another try would fail alike */
async function checkPython(program: PythonProgram): Promise<void> {
  const message = await diagnosePython(program);
  if (message !== undefined) throw new ZiparError({ code: "python-environment", message });
}

function describeOptions(options: WorkerOptions): readonly string[] {
  const { connect, keys, tokenFile, device, drain, heartbeatTimeout, insecurePlaintext } = options;
  return [
    ...["--dial", connect, "--device", device, "--with-parent", "--drain", String(drain)],
    ...(keys === undefined ? [] : ["--keys", keys]),
    ...(tokenFile === undefined ? [] : ["--token-file", tokenFile]),
    ...(heartbeatTimeout === undefined ? [] : ["--heartbeat-timeout", String(heartbeatTimeout)]),
    ...(insecurePlaintext ? ["--insecure-plaintext"] : []),
  ];
}

function pause(ms: number, interrupt: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    interrupt.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
