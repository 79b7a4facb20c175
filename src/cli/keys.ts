import { join } from "node:path";
import { makeKeys } from "../worker/remote/make-keys.ts";
import type { ValuesOf } from "./option.ts";
import type { KEYS } from "./options.ts";

/** `zipar keys`: the keys of an engine and of a worker that dials in to it. */
export function runKeys(folder: string, { worker: name }: ValuesOf<typeof KEYS>): void {
  const { engine, worker, isAddition } = makeKeys(folder, name);
  const lines = [
    ...(isAddition ? [] : [`${engine}  stays with the engine: listen with \`keys: "${engine}"\``]),
    `${worker}  goes to the worker's machine, by a safe way, and is deleted here:`,
    `  scp -rp ${worker} HOST:  then there  zipar worker --connect tcp://ENGINE:PORT --keys ${join(".", name ?? "worker")}`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
