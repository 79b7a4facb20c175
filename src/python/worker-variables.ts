import { workerFiles } from "./location.ts";

/**
 * Environment variables of every interpreter that runs the package `zipar_worker`.
 * @param directory the folder that holds the package
 */
export function workerVariables(directory = workerFiles().directory): Record<string, string> {
  return {
    PYTHONPATH: directory,
    PYTHONUNBUFFERED: "1",
    // Bytecode is kept, whatever the user's own variables say: without it every start compiles PyTorch's sources anew,
    // which takes longer than importing them.
    PYTHONDONTWRITEBYTECODE: "",
  };
}
