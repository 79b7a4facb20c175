import { execa } from "execa";
import { ZiparError } from "../../errors.ts";
import { NEUTRAL_DIRECTORY } from "../ask-program.ts";
import type { Variables } from "../isolation.ts";
import { throwIfCancelled } from "../throw-if-cancelled.ts";

/** Runs a program of the set-up to its end. */
export type RunProgram = (
  path: string,
  parameters: readonly string[],
  variables?: Readonly<Record<string, string>>,
) => Promise<void>;

export interface RunProgramOptions {
  readonly variables: Variables;
  /** Leaves this process's terminal to the program, which then draws its own progress bars. */
  readonly onTerminal: boolean;
  readonly onLine: (line: string) => void;
  /** Ends the program. */
  readonly signal?: AbortSignal | undefined;
}

const keptLineCount = 12;

export function createRunProgram(options: RunProgramOptions): RunProgram {
  return async (path, parameters, variables = {}) => {
    const settings = {
      cwd: NEUTRAL_DIRECTORY,
      env: { ...options.variables, ...variables },
      extendEnv: false,
      reject: false,
      stdin: "ignore",
      buffer: false,
      ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    } as const;
    const lastLines: string[] = [];
    const outcome = options.onTerminal
      ? // Standard output may be promised to the caller's JSON.
        await execa(path, parameters, { ...settings, stdout: 2, stderr: "inherit" })
      : await runQuietly(path, parameters, settings, (line) => {
          lastLines.push(line);
          if (lastLines.length > keptLineCount) lastLines.shift();
          options.onLine(line);
        });
    if (!outcome.failed) return;
    // Ctrl-C in a terminal reaches the program too, which may end before it is ended.
    throwIfCancelled(options.signal);
    const said = lastLines.length > 0 ? `:\n${lastLines.join("\n")}` : ".";
    throw new ZiparError({
      code: "python-environment",
      message: `\`${[path, ...parameters].join(" ")}\` failed${exitOf(outcome)}${said}`,
      details: { exitCode: outcome.exitCode ?? null },
      cause: outcome.cause,
    });
  };
}

async function runQuietly(
  path: string,
  parameters: readonly string[],
  settings: object,
  onLine: (line: string) => void,
): Promise<{ failed: boolean; exitCode?: number; signal?: string; cause?: unknown }> {
  const subprocess = execa(path, parameters, { ...settings, all: true });
  for await (const line of subprocess.iterable({ from: "all" })) onLine(String(line));
  return await subprocess;
}

function exitOf({ exitCode, signal }: { exitCode?: number; signal?: string }): string {
  if (exitCode !== undefined) return ` with exit code ${exitCode}`;
  return signal === undefined ? "" : ` on ${signal}`;
}
