import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ZiparError } from "../../errors.ts";
import { interpreterOf } from "../location.ts";
import { probePython } from "../probe.ts";
import { interpreterName, listEntries, readEnvironmentFacts, removeMarker, writeMarker } from "./facts.ts";
import { findSitePackages, inspectPackages } from "./installed-packages.ts";
import type { InstallJob } from "./job.ts";
import { listSome } from "./list-some.ts";
import { type LockedPackage, parseLock, pinOf, withoutTorch } from "./requirements-lock.ts";
import type { EnvironmentMarker } from "./state.ts";
import { describeSize } from "./torch-size.ts";
import { baseOf, bootstrapUv, findOwnUv, ownUvPath, readUvSettings } from "./uv.ts";
import type { UvSettings } from "./uv-settings.ts";

/** Brings a virtual environment to what the lock says, checks it, and only then marks it as complete. */
export async function fillEnvironment(job: InstallJob): Promise<void> {
  const { directory, wanted, files, machine, userUv, run, onProgress } = job;
  const before = readEnvironmentFacts(directory).marker;
  const testTools = wanted.testTools || (before?.testLockHash ?? null) !== null;
  const torchBackend = wanted.torchBackend ?? before?.torchBackend ?? null;
  await removeMarker(directory);
  try {
    const python = interpreterOf(directory);
    await forgetDamagedPackages(directory);
    const uv = userUv ?? (await provideOwnUv(job));
    const settings = await readUvSettings(await baseOf(directory, machine), machine);
    const lock = testTools ? files.testLock : files.runLock;
    const packages = parseLock(await readFile(lock, "utf8"));
    const message = hasTorch(directory, before, torchBackend)
      ? "bringing the packages in line with the lock; PyTorch is there already"
      : describeSize(process.platform, process.arch, torchBackend);
    onProgress({ step: "packages", message });
    // One that an earlier set-up got stays: the next may find none on PATH.
    const locks = existsSync(ownUvPath(directory)) ? [files.uvLock] : [];
    const sync = () =>
      torchBackend === null
        ? syncPackages({ uv, python, locks: [lock, ...locks], settings, run })
        : syncWithOtherTorch({ uv, python, packages, torchBackend, locks, settings, run, directory });
    await sync();
    const stillDamaged = await forgetDamagedPackages(directory);
    if (stillDamaged.length > 0) {
      // uv links files from its cache, so what was cut in an environment is cut there too.
      onProgress({
        step: "packages",
        message: `uv's cache is damaged, fetching again: ${listSome(stillDamaged)}`,
      });
      await run(uv, ["cache", "clean", ...stillDamaged]);
      await sync();
    }
    onProgress({ step: "check", message: "checking that the worker's packages can be imported" });
    const marker = await describeEnvironment(job, testTools, torchBackend);
    await probePython({ python, source: "managed" }, job.root, job.signal);
    await writeMarker(directory, marker);
  } catch (error) {
    if (before && isUntouched(directory, before)) await writeMarker(directory, before);
    throw error;
  }
}

/** Without its dist-info a package counts as not installed, and its files are laid anew. Resolves to their names. */
async function forgetDamagedPackages(directory: string): Promise<readonly string[]> {
  const sitePackages = findSitePackages(directory);
  if (!sitePackages) return [];
  const packages = await inspectPackages(join(directory, sitePackages));
  const damaged = packages
    .filter(({ damagedFiles }) => damagedFiles.length > 0)
    .map(({ distInfo }) => distInfo);
  for (const distInfo of damaged)
    await rm(join(directory, sitePackages, distInfo), { recursive: true, force: true });
  return damaged.map((distInfo) => distInfo.split("-")[0] ?? distInfo);
}

/** Whether the largest download can be left out: only for the message. */
function hasTorch(
  directory: string,
  before: EnvironmentMarker | undefined,
  torchBackend: string | null,
): boolean {
  const sitePackages = findSitePackages(directory);
  if (!sitePackages || (before && before.torchBackend !== torchBackend)) return false;
  return [...listEntries(directory, { sitePackages })].some((name) => /^torch-.*\.dist-info$/.test(name));
}

async function provideOwnUv({ directory, files, machine, run, onProgress }: InstallJob): Promise<string> {
  const own = await findOwnUv(directory, await readFile(files.uvLock, "utf8"), machine.variables);
  if (own) return own;
  onProgress({ step: "uv", message: "no uv on PATH: getting it from PyPI into the environment" });
  return bootstrapUv(directory, files.uvLock, machine, run);
}

interface Sync {
  readonly uv: string;
  readonly python: string;
  readonly locks: readonly string[];
  readonly settings: UvSettings;
  readonly run: InstallJob["run"];
}

async function syncPackages({ uv, python, locks, settings, run }: Sync): Promise<void> {
  const parameters = [
    "pip",
    "sync",
    "--python",
    python,
    "--require-hashes",
    ...settings.parameters,
    ...locks,
  ];
  await run(uv, parameters, settings.variables);
}

interface SyncWithOtherTorch extends Sync {
  readonly packages: readonly LockedPackage[];
  readonly torchBackend: string;
  readonly directory: string;
}

/** Installs the pinned PyTorch without its hashes, which hold for one build only, and all else with. */
async function syncWithOtherTorch(sync: SyncWithOtherTorch): Promise<void> {
  const { uv, python, settings, packages, torchBackend, run, directory } = sync;
  const installTorch = (...parameters: readonly string[]) => {
    const choice = ["--torch-backend", torchBackend, ...settings.parameters, ...parameters];
    return run(
      uv,
      ["pip", "install", "--python", python, ...choice, pinOf(packages, "torch")],
      settings.variables,
    );
  };
  // An index that cannot be reached shows here, before the PyTorch that is there goes.
  await installTorch("--dry-run", "--reinstall-package", "torch");
  const folder = await mkdtemp(join(directory, "zipar-"));
  try {
    const rest = join(folder, "requirements.lock");
    await writeFile(rest, withoutTorch(packages));
    await syncPackages({ ...sync, locks: [rest, ...sync.locks] });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  await installTorch();
}

/** Rejects when a package is not there in full. */
async function describeEnvironment(
  { directory, wanted }: InstallJob,
  testTools: boolean,
  torchBackend: string | null,
): Promise<EnvironmentMarker> {
  const sitePackages = findSitePackages(directory);
  const interpreter = interpreterName(directory);
  if (!sitePackages || !interpreter)
    throw new Error(`${directory} has no Python or no site-packages after set-up`);
  const packages = await inspectPackages(join(directory, sitePackages));
  const damaged = packages.flatMap(({ damagedFiles }) => damagedFiles);
  if (damaged.length > 0)
    throw new ZiparError({
      code: "python-environment",
      message: `After installing, files are missing or cut in ${directory}: ${listSome(damaged)}. Is the disk full?`,
    });
  return {
    runLockHash: wanted.runLockHash,
    testLockHash: testTools ? wanted.testLockHash : null,
    torchBackend,
    interpreter,
    sitePackages,
    packageCount: packages.length,
    byteCount: packages.reduce((sum, { byteCount }) => sum + byteCount, 0),
    entries: [...new Set(packages.flatMap(({ entries }) => entries))].sort(),
  };
}

/** A failed download leaves what was there before. */
function isUntouched(directory: string, marker: EnvironmentMarker): boolean {
  const entries = listEntries(directory, marker);
  return marker.entries.every((entry) => entries.has(entry));
}
