import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import { reasonOf, ZiparError } from "../errors.ts";
import { moduleFile } from "./own-files.ts";

/** Set, and not empty: zeromq is loaded wherever we run. */
const FORCE = "ZIPAR_ANY_RUNTIME";

/**
 * zeromq, which is loaded when a worker is first to be reached.
 * @throws ZiparError `native-module` where it cannot be loaded, or would take the program down later
 */
export function loadZeromq(): typeof import("zeromq") {
  const reason = process.env[FORCE] ? undefined : reasonAgainstSockets();
  if (reason !== undefined) {
    throw new ZiparError({
      code: "native-module",
      message: `zipar does not start workers here: ${reason}. Environment variable ${FORCE}=1 has it try all the same.`,
      details: { module: "zeromq" },
    });
  }
  return load("zeromq", "workers");
}

/**
 * sharp, which is loaded when a picture is first to be encoded or drawn.
 * @throws ZiparError `native-module` where it cannot be loaded
 */
export function loadSharp(): typeof import("sharp").default {
  return load("sharp", "pictures");
}

/** What of this runtime stands against sockets of zeromq, if anything does. */
export function reasonAgainstSockets(
  versions: Readonly<Record<string, string | undefined>> = process.versions,
  isMain = isMainThread,
): string | undefined {
  if (versions.bun !== undefined)
    return "zeromq needs functions of libuv that Bun does not have, and ends the process; run createEngine in Node";
  if (versions.deno !== undefined)
    return "zeromq needs functions of libuv that Deno has lacked, and waits for ever; run createEngine in Node";
  if (!isMain)
    return (
      "this is a worker thread, and zeromq aborts the whole program when such a thread is terminated while an image is " +
      "decoded; run createEngine in the main thread or in a process of its own (child_process.fork)"
    );
  return undefined;
}

/** `require`, not `import`: bundlers leave it alone, as a native module cannot be bundled, and `toSharp` cannot wait. */
function load(name: "zeromq" | "sharp", purpose: string) {
  try {
    return createRequire(moduleFile(import.meta.url))(name);
  } catch (cause) {
    throw new ZiparError({
      code: "native-module",
      message: `${name}, which zipar needs for ${purpose}, cannot be loaded: ${shortReason(cause)}. ${REMEDY}`,
      details: { module: name },
      cause,
    });
  }
}

/** What to do where a native module cannot be loaded. */
export const REMEDY =
  "Run `npm install --include=optional` again on this machine. For another one give its system to npm install: " +
  "--os=linux --cpu=x64, and --libc=musl for Alpine. sharp's builds for x64 need a processor with x86-64-v2.";

/** What a module's loader says before its own advice. */
function shortReason(cause: unknown): string {
  const [advice = ""] = reasonOf(cause).split(/\n(?:Possible solutions|Require stack)/);
  return advice
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .slice(0, 3)
    .join("; ");
}
