import { listSome } from "./list-some.ts";

/** What set-up writes last into an environment, so that a half-made one has none. */
export interface EnvironmentMarker {
  readonly runLockHash: string;
  /** null: without the tools of the test run. */
  readonly testLockHash: string | null;
  /** `UV_TORCH_BACKEND` at the time; null: the build that the lock pins. */
  readonly torchBackend: string | null;
  /** What the interpreter resolved to, e.g. `python3.12`: a system upgrade may put another one in its place. */
  readonly interpreter: string;
  /** Relative to the environment. */
  readonly sitePackages: string;
  readonly packageCount: number;
  readonly byteCount: number;
  /** Names of all that packages put into `sitePackages`. */
  readonly entries: readonly string[];
}

export interface WantedEnvironment {
  readonly runLockHash: string;
  readonly testLockHash: string;
  readonly testTools: boolean;
  /** undefined: no opinion, what is there may stay. */
  readonly torchBackend: string | undefined;
}

export interface EnvironmentFacts {
  /** Anything at all at the place. */
  readonly exists: boolean;
  readonly marker: EnvironmentMarker | undefined;
  /** Name that the interpreter resolves to; undefined when it is gone. */
  readonly interpreter: string | undefined;
  readonly entries: ReadonlySet<string>;
}

export type EnvironmentState =
  | { readonly kind: "complete" }
  /** The interpreter serves, packages are to be installed into it. */
  | { readonly kind: "incomplete"; readonly reason: string }
  /** Only making it anew helps. */
  | { readonly kind: "unusable"; readonly reason: string };

/** What an environment needs. Pure. */
export function environmentState(facts: EnvironmentFacts, wanted: WantedEnvironment): EnvironmentState {
  const { exists, marker, interpreter, entries } = facts;
  if (!exists) return { kind: "unusable", reason: "it is not there yet" };
  if (interpreter === undefined) return { kind: "unusable", reason: "its Python interpreter is gone" };
  if (!marker) return { kind: "incomplete", reason: "it was never completed" };
  if (marker.interpreter !== interpreter)
    return {
      kind: "unusable",
      reason: `it was made for ${marker.interpreter}, which is now ${interpreter}`,
    };
  if (marker.runLockHash !== wanted.runLockHash)
    return { kind: "incomplete", reason: "it was made from another lock (requirements.lock)" };
  if (wanted.testTools && marker.testLockHash === null)
    return { kind: "incomplete", reason: "it lacks the tools of the test run" };
  if (wanted.testTools && marker.testLockHash !== wanted.testLockHash)
    return { kind: "incomplete", reason: "it was made from another lock (requirements-test.lock)" };
  if (wanted.torchBackend !== undefined && wanted.torchBackend !== marker.torchBackend)
    return {
      kind: "incomplete",
      reason: `it has PyTorch for ${marker.torchBackend ?? "the platform's default"}, UV_TORCH_BACKEND asks for ${wanted.torchBackend}`,
    };
  const missing = marker.entries.filter((entry) => !entries.has(entry));
  if (missing.length > 0)
    return {
      kind: "incomplete",
      reason: `${listSome(missing)} ${missing.length === 1 ? "is" : "are"} missing in it`,
    };
  return { kind: "complete" };
}
