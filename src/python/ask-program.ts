import { parse } from "node:path";
import { execa } from "execa";
import type { Variables } from "./isolation.ts";
import { packageRoot } from "./location.ts";

/**
 * Where the programs of the set-up run. uv, pyenv and their like look for settings in the working directory and in every
 * folder above it: those of the user's project, or of whoever else, are not meant for zipar's environment.
 */
export const NEUTRAL_DIRECTORY = parse(packageRoot).root;

export interface ProgramAnswer {
  /** It could not be started, took longer than 30 s, or its exit code is not 0. */
  readonly failed: boolean;
  readonly stdout: string;
  /** The last line that it printed on stderr, or why it could not be started; for a sentence. */
  readonly complaint: string;
}

/** Runs a program for what it prints. Never rejects. */
export async function askProgram(
  path: string,
  parameters: readonly string[],
  variables: Variables,
): Promise<ProgramAnswer> {
  const { failed, stdout, stderr, code, shortMessage } = await execa(path, parameters, {
    reject: false,
    stdin: "ignore",
    timeout: 30_000,
    cwd: NEUTRAL_DIRECTORY,
    env: variables,
    extendEnv: false,
  });
  const said = stderr?.trim().split("\n").at(-1);
  const complaint = said || startFailures[code ?? ""] || shortMessage || "it printed nothing";
  return { failed, stdout: stdout ?? "", complaint };
}

/** What the system's words mean for a file that is there. */
const startFailures: Readonly<Record<string, string>> = {
  ENOENT: "the program that it needs to run, which its first line or its header names, is not there",
  ENOEXEC: "it is not a program for this machine",
  EACCES: "this user may not execute it, or what it needs to run",
};
