/** Decides from facts what an environment needs. Pure. */

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

export type EnvironmentJudgement =
  | { readonly state: "complete" }
  /** The interpreter serves, packages are to be installed into it. */
  | { readonly state: "incomplete"; readonly reason: string }
  /** Only making it anew helps. */
  | { readonly state: "unusable"; readonly reason: string };

export function judgeEnvironment(facts: EnvironmentFacts, wanted: WantedEnvironment): EnvironmentJudgement {
  const { exists, marker, interpreter, entries } = facts;
  if (!exists) return { state: "unusable", reason: "it is not there yet" };
  if (interpreter === undefined) return { state: "unusable", reason: "its Python interpreter is gone" };
  if (!marker) return { state: "incomplete", reason: "it was never completed" };
  if (marker.interpreter !== interpreter)
    return {
      state: "unusable",
      reason: `it was made for ${marker.interpreter}, which is now ${interpreter}`,
    };
  if (marker.runLockHash !== wanted.runLockHash)
    return { state: "incomplete", reason: "it was made from another lock (requirements.lock)" };
  if (wanted.testTools && marker.testLockHash === null)
    return { state: "incomplete", reason: "it lacks the tools of the test run" };
  if (wanted.testTools && marker.testLockHash !== wanted.testLockHash)
    return { state: "incomplete", reason: "it was made from another lock (requirements-test.lock)" };
  if (wanted.torchBackend !== undefined && wanted.torchBackend !== marker.torchBackend)
    return {
      state: "incomplete",
      reason: `it has PyTorch for ${marker.torchBackend ?? "the platform's default"}, UV_TORCH_BACKEND asks for ${wanted.torchBackend}`,
    };
  const missing = marker.entries.filter((entry) => !entries.has(entry));
  if (missing.length > 0)
    return {
      state: "incomplete",
      reason: `${listSome(missing)} ${missing.length === 1 ? "is" : "are"} missing in it`,
    };
  return { state: "complete" };
}

/** `a, b, c and 5 more`. */
export function listSome(names: readonly string[], count = 3): string {
  const more = names.length - count;
  return more > 0 ? `${names.slice(0, count).join(", ")} and ${more} more` : names.join(", ");
}
