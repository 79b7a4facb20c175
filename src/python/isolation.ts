import { join } from "node:path";
import { homeDirectory, packageRoot, workerFiles } from "./location.ts";

/**
 * How every Python of zipar is started: isolated. The working directory, the user's own packages and the PYTHON*
 * variables, which are meant for other programs, would put modules of their own in the place of ours. Among them are
 * those about bytecode: it is always kept beside the sources, or every start would compile PyTorch's anew.
 */
const ISOLATED = ["-I", "-u", "-X", "utf8"] as const;

/**
 * The parameters with which an interpreter runs a module of the worker.
 * @param directory the folder that holds the module's package
 */
export function runsModule(module: string, directory = workerFiles().directory): readonly string[] {
  return [...ISOLATED, join(workerFiles(packageRoot).directory, "start.py"), directory, module];
}

/** The parameters with which an interpreter runs one of its own modules, e.g. `pip`. */
export function runsOwnModule(module: string): readonly string[] {
  return [...ISOLATED, "-m", module];
}

/** An interpreter, and who manages it. */
export interface PythonProgram {
  readonly python: string;
  readonly source: "ZIPAR_PYTHON" | "managed";
}

export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * All environment variables of an interpreter. What it starts in turn is to be isolated too, and never to fail for the
 * want of a home or an account, which containers do not always have.
 * @param source of the interpreter: to one that the user manages PYTHONPATH is left, see `start.py`
 */
export function isolatedVariables(
  source: PythonProgram["source"],
  variables: Variables = process.env,
): Variables {
  const kept = Object.entries(variables).filter(
    ([name]) => !/^PYTHON|^__PYVENV/i.test(name) || (source === "ZIPAR_PYTHON" && name === "PYTHONPATH"),
  );
  return {
    ...Object.fromEntries(kept),
    ...withAccount(variables),
    PYTHONSAFEPATH: "1",
    PYTHONNOUSERSITE: "1",
  };
}

/** A name and a home for Python's `getpass.getuser()` and `Path.home()`, where both would raise. */
function withAccount(variables: Variables): Variables {
  const isNamed = ["LOGNAME", "USER", "LNAME", "USERNAME"].some((name) => variables[name]);
  return {
    ...(isNamed ? {} : { LOGNAME: `uid-${process.getuid?.() ?? "unknown"}` }),
    ...(homeDirectory() === undefined ? { HOME: "/" } : {}),
  };
}
