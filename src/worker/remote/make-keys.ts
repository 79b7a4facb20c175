import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ZiparError } from "../../errors.ts";
import { loadZeromq } from "../../system/native-modules.ts";
import { writeFailure } from "../../system/write-failure.ts";
import { KEY_FILES, readPublicKey, readToken } from "./key-files.ts";

/** Folders that were made, each to be kept by one side. */
export interface MadeKeys {
  readonly engine: string;
  readonly worker: string;
  /** The engine's keys were there before; only a worker was added. */
  readonly isAddition: boolean;
}

/**
 * Makes the keys of an engine and of one worker in `folder`, or those of another worker of the same engine. Folders get
 * mode 0700, files 0600. Nothing is overwritten.
 * @throws ZiparError `invalid-options`
 */
export function makeKeys(folder: string, workerName = "worker"): MadeKeys {
  if (!/^\w[\w.-]{0,63}$/.test(workerName) || workerName === KEY_FILES.engineFolder) {
    throw new ZiparError({
      code: "invalid-options",
      message: `"${workerName}" is no name for a worker: expected letters, digits, "-", "_" and ".", and not "${KEY_FILES.engineFolder}"`,
    });
  }
  const engine = join(folder, KEY_FILES.engineFolder);
  const worker = join(folder, workerName);
  const known = join(engine, KEY_FILES.knownWorkers, `${workerName}.public`);
  for (const path of [worker, known]) if (existsSync(path)) throw alreadyThere(path);
  const isAddition = existsSync(engine);
  try {
    if (!isAddition) makeEngine(engine);
    makeWorker(worker, known, engine);
  } catch (cause) {
    // Half of a side's keys would be in the way of the next try. None of these was there before.
    for (const path of [worker, isAddition ? known : engine])
      if (existsSync(path)) rmSync(path, { recursive: true });
    if (ZiparError.is(cause)) throw cause;
    throw writeFailure(`cannot make keys in ${folder}`, cause, "invalid-options");
  }
  return { engine, worker, isAddition };
}

function makeEngine(engine: string): void {
  const { publicKey, secretKey } = loadZeromq().curveKeyPair();
  makeFolder(engine);
  makeFolder(join(engine, KEY_FILES.knownWorkers));
  writePrivately(join(engine, KEY_FILES.enginePublic), publicKey);
  writePrivately(join(engine, KEY_FILES.engineSecret), secretKey);
  writePrivately(join(engine, KEY_FILES.token), randomBytes(32).toString("hex"));
}

function makeWorker(worker: string, known: string, engine: string): void {
  const { publicKey, secretKey } = loadZeromq().curveKeyPair();
  const token = readToken(join(engine, KEY_FILES.token));
  const enginePublic = readPublicKey(join(engine, KEY_FILES.enginePublic));
  makeFolder(worker);
  writePrivately(join(worker, KEY_FILES.workerPublic), publicKey);
  writePrivately(join(worker, KEY_FILES.workerSecret), secretKey);
  writePrivately(join(worker, KEY_FILES.enginePublic), enginePublic);
  writePrivately(join(worker, KEY_FILES.token), token);
  writePrivately(known, publicKey);
}

function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

function writePrivately(path: string, line: string): void {
  writeFileSync(path, `${line}\n`, { mode: 0o600, flag: "wx" });
}

function alreadyThere(path: string): ZiparError {
  return new ZiparError({
    code: "invalid-options",
    message: `${path} exists, and keys are never overwritten; give another folder, or add a worker with --worker NAME`,
  });
}
