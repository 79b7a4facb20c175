import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const lanePath = fileURLToPath(new URL("lane.mjs", import.meta.url));

/**
 * Runs rows, an iterable that may be made as it goes, in `laneCount` processes. A row that takes longer than its `limitMs` is "hung", one that takes its process
 * along has "crashed"; either gets a new process for the rows after it.
 * `onRow(row, observed)` is called as rows end.
 */
export async function runInLanes(rows, { laneCount, onRow }) {
  const folder = mkdtempSync(join(tmpdir(), "zipar-test-faults-"));
  const waiting = rows[Symbol.iterator]();
  try {
    await Promise.all(Array.from({ length: laneCount }, () => runLane()));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  async function runLane() {
    let lane;
    for (let next = waiting.next(); !next.done; next = waiting.next()) {
      const row = next.value;
      lane ??= await startLane(folder);
      const observed = await lane.run(row);
      if (observed.lost !== undefined) lane = undefined;
      onRow(row, observed);
    }
    lane?.end();
  }
}

async function startLane(folder) {
  const environment = { ...process.env, TMPDIR: folder, OMP_NUM_THREADS: "1" };
  const child = fork(lanePath, { env: environment, stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    errors = (errors + chunk).slice(-4_000);
  });
  await new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", () => reject(new Error(`a lane did not start: ${errors}`)));
  });
  return { run: (row) => runRow(child, row, () => errors), end: () => child.disconnect() };
}

function runRow(child, { limitMs, ...row }, errors) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      end({ lost: "hung" });
      child.kill("SIGKILL");
    }, limitMs);
    const onMessage = ({ observed }) => end(observed);
    const onExit = (code, signal) => end({ lost: "crashed", message: `${signal ?? code}: ${errors()}` });
    child.once("message", onMessage);
    child.once("exit", onExit);
    child.send(row);

    function end(observed) {
      clearTimeout(timer);
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve({ outcomes: [], strikes: [], notices: [], processes: [], directories: [], ...observed });
    }
  });
}
