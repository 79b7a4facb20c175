/** One process that runs rows, one after the other, so that what is left behind is some row's own. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { digestOf } from "./digest.mjs";
import { faultyWorker, STUB } from "./faulty-worker.mjs";
import { leftoversOf } from "./leftovers.mjs";
import { load } from "./load.mjs";
import { requestsOf } from "./requests.mjs";

/** After `dispose` has resolved nothing may be left; the time is for the kernel to reap. */
const LEFTOVER_LIMIT_MS = 500;
/** How long a worker may take to find itself idle, and how long it lies there. */
const IDLE_LIMIT_MS = 5_000;
const IDLE_MS = 300;

const { createEngine, stubWorker } = await load("index.js");
const base = tmpdir();
const references = {};

process.on("disconnect", () => process.exit());
process.on("message", async (row) => {
  const isSoak = row.requests !== undefined;
  process.send({ observed: isSoak ? await runSoak(row) : await runUnderWatch(row, serveRow) });
});
process.send({ ready: true });

/** Runs a row and tells what happened; it judges nothing. */
async function runUnderWatch(row, serve) {
  const folder = mkdtempSync(join(base, "f"));
  const journal = `${folder}.journal`;
  process.env.TMPDIR = folder;
  const notices = [];
  let outcomes = [];
  let engine;
  try {
    engine = await createEngine({
      worker: faultyWorker(row.worker, { faults: row.faults, journal }),
      maxImages: 3,
      logger: noticing(notices),
      ...row.engine,
    });
    outcomes = await serve(engine, row, { journal, notices });
  } catch (error) {
    outcomes = [failureOf(error)];
  }
  const restartCount = engine?.restartCount ?? 0;
  const endedAt = performance.now();
  await engine?.dispose();
  const disposeMs = Math.round(performance.now() - endedAt);
  const { processes, directories } = await leftoversOf(folder, LEFTOVER_LIMIT_MS);
  for (const pid of processes) process.kill(pid, "SIGKILL");
  const strikes = existsSync(journal) ? readFileSync(journal, "utf8").trim().split("\n").map(JSON.parse) : [];
  process.env.TMPDIR = base;
  rmSync(folder, { recursive: true, force: true });
  rmSync(journal, { force: true });
  return { outcomes, restartCount, strikes, notices, processes, directories, disposeMs };
}

/** An idle engine has nothing to lose: what counts is the request after the fault. */
async function serveRow(engine, { phase, images }, { journal, notices }) {
  const outcomes = await generateAll(engine, images);
  if (phase !== "idle") return outcomes;
  await until(() => existsSync(journal), IDLE_LIMIT_MS);
  await until(() => notices.length > 0, IDLE_MS);
  const askedAt = Date.now();
  return (await generateAll(engine, images)).map((outcome) => ({ ...outcome, askedAt }));
}

/** What became of each image, in order. */
function generateAll(engine, images) {
  return Promise.all(requestsOf(images).map((request) => outcomeOf(engine.generate(request))));
}

/** The stream of a soak, and what each of its images is without faults. */
async function runSoak(row) {
  const observed = await runUnderWatch(row, (engine, { requests }) =>
    Promise.all(requests.map((request) => serveRequest(engine, request))),
  );
  const reference = await referenceEngine(row.worker);
  const expected = [];
  for (const { options } of row.requests) expected.push(digestOf(await reference.generate(options)));
  return { ...observed, expected };
}

async function serveRequest(engine, { options, afterMs, cancelAtForward }) {
  await sleep(afterMs);
  const abort = new AbortController();
  const generation = engine.generate({ ...options, signal: abort.signal });
  const outcome = outcomeOf(generation);
  try {
    for await (const event of generation)
      if (event.type === "step" && event.forward === cancelAtForward) abort.abort();
  } catch {
    // it is in the outcome
  }
  return outcome;
}

/** The stub in this process, which shares no code with the one in Python; or another worker with the checkpoint. */
function referenceEngine(worker) {
  references[worker] ??= createEngine({
    worker: worker === "stub" ? stubWorker(STUB) : faultyWorker(worker, { faults: [] }),
  });
  return references[worker];
}

function outcomeOf(generation) {
  return generation.then((result) => ({ digest: digestOf(result) }), failureOf);
}

function failureOf(error) {
  return { code: error.code ?? error.name, message: error.message, time: Date.now() };
}

/** Keeps what the engine says of its worker's death. */
function noticing(notices) {
  const keep = (message) => notices.push({ message, time: Date.now() });
  return { debug() {}, info() {}, warn: keep };
}

async function until(holds, limitMs) {
  const end = performance.now() + limitMs;
  while (!holds() && performance.now() < end) await sleep(5);
}
