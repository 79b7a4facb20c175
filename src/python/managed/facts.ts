import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { interpreterOf } from "../location.ts";
import type { EnvironmentFacts, EnvironmentMarker } from "./state.ts";

const markerSchema = z.object({
  runLockHash: z.string(),
  testLockHash: z.string().nullable(),
  torchBackend: z.string().nullable(),
  interpreter: z.string(),
  sitePackages: z.string(),
  packageCount: z.number(),
  byteCount: z.number(),
  entries: z.array(z.string()),
});

/** A few small reads, no process: quick enough for every start of an engine. */
export function readEnvironmentFacts(environment: string): EnvironmentFacts {
  const marker = readMarker(environment);
  return {
    exists: existsSync(environment) && !isEmpty(environment),
    marker,
    interpreter: interpreterName(environment),
    entries: marker ? listEntries(environment, marker) : new Set(),
  };
}

/** A folder that cannot be read is not. */
function isEmpty(folder: string): boolean {
  try {
    return readdirSync(folder).length === 0;
  } catch {
    return false;
  }
}

/** What the environment's Python is a link to, e.g. `python3.12`. */
export function interpreterName(environment: string): string | undefined {
  try {
    return basename(realpathSync(interpreterOf(environment)));
  } catch {
    return undefined;
  }
}

/** undefined where there is none that can be read: the environment is then treated as half-made. */
function readMarker(environment: string): EnvironmentMarker | undefined {
  try {
    return markerSchema.parse(JSON.parse(readFileSync(markerPath(environment), "utf8")));
  } catch {
    return undefined;
  }
}

export async function writeMarker(environment: string, marker: EnvironmentMarker): Promise<void> {
  const unfinished = `${markerPath(environment)}.new`;
  await writeFile(unfinished, JSON.stringify(marker, null, 1));
  await rename(unfinished, markerPath(environment));
}

export async function removeMarker(environment: string): Promise<void> {
  await rm(markerPath(environment), { force: true });
}

function markerPath(environment: string): string {
  return join(environment, "zipar-environment.json");
}

/** What lies in the folder for packages. */
export function listEntries(
  environment: string,
  { sitePackages }: Pick<EnvironmentMarker, "sitePackages">,
): ReadonlySet<string> {
  const folder = join(environment, sitePackages);
  return new Set(existsSync(folder) ? readdirSync(folder) : []);
}
