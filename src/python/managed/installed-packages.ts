import { existsSync, readdirSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";

export interface InstalledPackage {
  /** Folder that says that the package is installed, e.g. `torch-2.13.0.dist-info`. */
  readonly distInfo: string;
  /** First path components of its files, relative to site-packages. */
  readonly entries: readonly string[];
  readonly byteCount: number;
  /** Files that its RECORD lists and that are not there in full. */
  readonly damagedFiles: readonly string[];
}

/** Relative to the environment; undefined when there is none. */
export function findSitePackages(
  environment: string,
  platform: NodeJS.Platform = process.platform,
): string | undefined {
  if (platform === "win32") {
    const folder = join("Lib", "site-packages");
    return existsSync(join(environment, folder)) ? folder : undefined;
  }
  const library = join(environment, "lib");
  if (!existsSync(library)) return undefined;
  return readdirSync(library)
    .filter((name) => /^python3\.\d+$/.test(name))
    .map((name) => join(library, name, "site-packages"))
    .filter((path) => existsSync(path))
    .map((path) => relative(environment, path))[0];
}

/** Compares every file of every package with what its RECORD says: presence and size, tens of thousands in a second. */
export async function inspectPackages(sitePackages: string): Promise<readonly InstalledPackage[]> {
  const names = (await readdir(sitePackages)).filter((name) => name.endsWith(".dist-info"));
  const packages: InstalledPackage[] = [];
  for (const distInfo of names) packages.push(await inspectPackage(sitePackages, distInfo));
  return packages;
}

async function inspectPackage(sitePackages: string, distInfo: string): Promise<InstalledPackage> {
  const recordPath = join(sitePackages, distInfo, "RECORD");
  if (!existsSync(recordPath))
    return { distInfo, entries: [distInfo], byteCount: 0, damagedFiles: [join(distInfo, "RECORD")] };
  const records = parseRecord(await readFile(recordPath, "utf8"));
  const entries = new Set([distInfo]);
  const damagedFiles: string[] = [];
  let byteCount = 0;
  const sizes = await Promise.all(records.map(({ path }) => fileSize(join(sitePackages, path))));
  for (const [index, { path, size }] of records.entries()) {
    const top = path.split("/")[0] ?? "";
    if (top !== ".." && top !== "__pycache__") entries.add(top);
    if (sizes[index] === undefined || (size !== undefined && sizes[index] !== size)) damagedFiles.push(path);
    byteCount += sizes[index] ?? 0;
  }
  return { distInfo, entries: [...entries], byteCount, damagedFiles };
}

async function fileSize(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

export interface RecordLine {
  readonly path: string;
  /** Absent where the installer wrote none. */
  readonly size: number | undefined;
}

/** Reads a wheel's RECORD: `path,hash,size`, the path quoted where it holds a comma. Byte code is left out: Python rewrites it. */
export function parseRecord(text: string): readonly RecordLine[] {
  const lines: RecordLine[] = [];
  for (const line of text.split(/\r?\n/)) {
    const match = /^(?:"((?:[^"]|"")*)"|([^,]*)),[^,]*,(\d*)$/.exec(line);
    if (!match) continue;
    const path = match[1]?.replaceAll('""', '"') ?? match[2] ?? "";
    if (path === "" || path.endsWith(".pyc")) continue;
    lines.push({ path, size: match[3] ? Number(match[3]) : undefined });
  }
  return lines;
}
