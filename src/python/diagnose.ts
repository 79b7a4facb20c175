import { askProgram } from "./ask-program.ts";
import { isolatedVariables, type PythonProgram, runsModule } from "./isolation.ts";
import { workerFiles } from "./location.ts";
import { describeInterpreter, PYTHON_RANGE } from "./managed/interpreter.ts";

/**
 * Why an interpreter cannot run the worker and what to do, as sentences; undefined where nothing is wrong with it.
 * It starts the interpreter, so it is asked only after a failure.
 * @param directory the folder that holds the package `zipar_worker`
 */
export async function diagnosePython(
  program: PythonProgram,
  directory = workerFiles().directory,
): Promise<string | undefined> {
  const { python, source } = program;
  const found = await describeInterpreter(python, [], isolatedVariables(source));
  if ("objection" in found)
    return `${named(program)} ${found.objection}. zipar needs Python ${PYTHON_RANGE}: ${anotherPython(program)}.`;
  const missing = await missingPackages(program, directory);
  if (missing.length === 0) return undefined;
  const lock = JSON.stringify(workerFiles().runLock);
  const remedy =
    source === "managed"
      ? "Run `npx zipar setup --force`."
      : `Install them with \`${JSON.stringify(python)} -m pip install -r ${lock}\`, or unset ZIPAR_PYTHON to use the ` +
        "environment that `zipar setup` makes.";
  return `${named(program)} lacks packages that zipar's worker needs: ${missing.join(", ")}. ${remedy}`;
}

function named({ python, source }: PythonProgram): string {
  return source === "managed" ? python : `ZIPAR_PYTHON names ${python}, which`;
}

function anotherPython({ source }: PythonProgram): string {
  return source === "managed"
    ? "run `npx zipar setup --force`"
    : "set ZIPAR_PYTHON to one that has the worker's packages, or unset it to use the environment that `zipar setup` makes";
}

/** Names as pip knows them; none where the interpreter does not say. */
async function missingPackages({ python, source }: PythonProgram, directory: string) {
  const answer = await askProgram(
    python,
    runsModule("zipar_worker.missing_packages", directory),
    isolatedVariables(source),
  );
  return answer.failed ? [] : answer.stdout.split("\n").filter((line) => line !== "");
}
