/** One process that runs rows, one after the other, so that what is left behind is some row's own. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { createEngine, type Engine, type Generation, type Logger, stubWorker } from "#zipar/index";
import { digestOf } from "./digest.ts";
import { faultyWorker, STUB } from "./faulty-worker.ts";
import { leftoversOf } from "./leftovers.ts";
import { remoteTeam } from "./remote-team.ts";
import { requestsOf } from "./requests.ts";
import type {
  CalmRow,
  Failure,
  ImageSet,
  Observed,
  Outcome,
  SoakPlan,
  SoakRequest,
  Task,
  WorkerKind,
} from "./types.ts";

type Message = CalmRow | SoakPlan;
type Notices = Observed["notices"][number][];

/** How a task is served by the engine that was started for it. */
type Serve = (
  engine: Engine,
  watch: { readonly journal: string; readonly notices: Notices },
) => Promise<readonly Outcome[]>;

/** After `dispose` has resolved nothing may be left; the time is for the kernel to reap. */
const LEFTOVER_LIMIT_MS = 500;
/** How long a worker may take to find itself idle, and how long it lies there. */
const IDLE_LIMIT_MS = 5_000;
const IDLE_MS = 300;
/** Within which a worker that comes back is there. */
const RETURN_LIMIT_MS = 20_000;

const base = tmpdir();
const references = new Map<WorkerKind, Promise<Engine>>();

process.on("disconnect", () => process.exit());
process.on("message", async (task: Message) => {
  tell({ observed: "requests" in task ? await runSoak(task) : await runRow(task) });
});
tell({ ready: true });

function tell(message: { readonly observed: Observed } | { readonly ready: true }): void {
  process.send?.(message);
}

/** An idle engine has nothing to lose: what counts is the request after the fault. */
function runRow(row: CalmRow): Promise<Observed> {
  return runUnderWatch(row, async (engine, { journal, notices }) => {
    const outcomes = await generateAll(engine, row.images);
    if (row.remote?.returns) return [...outcomes, ...(await generateUntilReturned(engine, row.images))];
    if (row.phase !== "idle") return outcomes;
    await until(() => existsSync(journal), IDLE_LIMIT_MS);
    await until(() => notices.length > 0, IDLE_MS);
    const askedAt = Date.now();
    return (await generateAll(engine, row.images)).map((outcome) => ({ ...outcome, askedAt }));
  });
}

/** Runs a task and tells what happened; it says nothing of whether that is right. */
async function runUnderWatch(task: Task, serve: Serve): Promise<Observed> {
  const folder = mkdtempSync(join(base, "f"));
  const journal = `${folder}.journal`;
  process.env.TMPDIR = folder;
  const notices: Notices = [];
  let outcomes: readonly Outcome[] = [];
  let engine: Engine | undefined;
  const plan = { faults: task.faults, journal };
  const team = task.remote && remoteTeam(plan, task.remote);
  try {
    engine = await createEngine({
      ...(team?.engine ?? { worker: faultyWorker(task.worker, plan) }),
      maxImages: 3,
      logger: noticing(notices),
      ...task.engine,
    });
    outcomes = await serve(engine, { journal, notices });
  } catch (error) {
    outcomes = [failureOf(error)];
  }
  const restartCount = engine?.restartCount ?? 0;
  await engine?.dispose();
  const lingering = (await team?.end()) ?? [];
  const { processes, directories } = await leftoversOf(folder, LEFTOVER_LIMIT_MS);
  for (const pid of processes) process.kill(pid, "SIGKILL");
  const strikes = strikesOf(journal);
  process.env.TMPDIR = base;
  rmSync(folder, { recursive: true, force: true });
  rmSync(journal, { force: true });
  return { outcomes, restartCount, strikes, notices, processes: [...processes, ...lingering], directories };
}

function strikesOf(journal: string): Observed["strikes"] {
  if (!existsSync(journal)) return [];
  return readFileSync(journal, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** An engine looks for a worker in the place of one that left as long as it has images to make. */
async function generateUntilReturned(engine: Engine, images: ImageSet): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  const end = performance.now() + RETURN_LIMIT_MS;
  while (engine.restartCount === 0 && performance.now() < end)
    outcomes.push(...(await generateAll(engine, images)));
  return [...outcomes, ...(await generateAll(engine, images))];
}

/** What became of each image, in order. */
function generateAll(engine: Engine, images: ImageSet): Promise<readonly Outcome[]> {
  return Promise.all(requestsOf(images).map((request) => outcomeOf(engine.generate(request))));
}

/** The stream of a soak, and what each of its images is without faults. */
async function runSoak(plan: SoakPlan): Promise<Observed> {
  const observed = await runUnderWatch(plan, (engine) =>
    Promise.all(plan.requests.map((request) => serveRequest(engine, request))),
  );
  const reference = await referenceEngine(plan.worker);
  const expected: string[] = [];
  for (const { options } of plan.requests) expected.push(digestOf(await reference.generate(options)));
  return { ...observed, expected };
}

async function serveRequest(
  engine: Engine,
  { options, afterMs, cancelAtForward }: SoakRequest,
): Promise<Outcome> {
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
function referenceEngine(worker: WorkerKind): Promise<Engine> {
  const started =
    references.get(worker) ??
    createEngine({ worker: worker === "stub" ? stubWorker(STUB) : faultyWorker(worker, { faults: [] }) });
  references.set(worker, started);
  return started;
}

function outcomeOf(generation: Generation): Promise<Outcome> {
  return generation.then<Outcome, Outcome>((result) => ({ digest: digestOf(result) }), failureOf);
}

function failureOf(error: unknown): Failure {
  const { code, name, message } = error as Error & { readonly code?: string };
  return { code: code ?? name, message, time: Date.now() };
}

/** Keeps what the engine says of its worker's death. */
function noticing(notices: Notices): Logger {
  const keep = (message: string) => notices.push({ message, time: Date.now() });
  return { debug() {}, info() {}, warn: keep };
}

async function until(holds: () => boolean, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs;
  while (!holds() && performance.now() < end) await sleep(5);
}
