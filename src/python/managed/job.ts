import type { Machine, WorkerFiles } from "../location.ts";
import type { RunProgram } from "./run-program.ts";
import type { WantedEnvironment } from "./state.ts";

export interface SetupProgress {
  readonly step: "wait" | "environment" | "uv" | "packages" | "check";
  readonly message: string;
}

export interface InstallJob {
  readonly directory: string;
  readonly wanted: WantedEnvironment;
  readonly root: string;
  readonly machine: Machine;
  readonly files: WorkerFiles;
  /** uv on PATH, when there is a recent one. */
  readonly userUv: string | undefined;
  readonly run: RunProgram;
  readonly onProgress: (progress: SetupProgress) => void;
  /** Ends the programs that run, and the set-up with them. */
  readonly signal?: AbortSignal | undefined;
}
