import { expect, test } from "vitest";
import { ZiparError } from "../../src/errors.ts";
import type { Reply } from "../../src/protocol/messages.ts";
import { PendingRequests } from "../../src/worker/pending-requests.ts";
import { ziparErrorOf } from "../support/errors.ts";

const NO_ARRAYS = new Map();

function reply<Type extends "done" | "forward-done">(type: Type, request: number) {
  return { type, epoch: 1, request, frames: [] } as Extract<Reply, { type: Type }>;
}

function askForStats(pending: PendingRequests) {
  return pending.add(1, "stats", undefined);
}

function askForForward(pending: PendingRequests) {
  return pending.add(2, "forward", undefined);
}

test("each request gets the reply with its number", async () => {
  const pending = new PendingRequests();
  const [first, second] = [pending.add(1, "release", undefined), pending.add(2, "forward", undefined)];
  expect([pending.count, pending.oldest]).toEqual([2, "release"]);
  pending.receive(reply("forward-done", 2), NO_ARRAYS);
  pending.receive(reply("done", 1), NO_ARRAYS);
  expect((await first).reply).toEqual(reply("done", 1));
  expect((await second).reply).toEqual(reply("forward-done", 2));
  expect([pending.count, pending.oldest]).toEqual([0, undefined]);
});

test("a reply of another type, and one that nobody waits for, break the protocol", async () => {
  const pending = new PendingRequests();
  const answer = askForForward(pending);
  const wrong = await ziparErrorOf(async () => pending.receive(reply("done", 2), NO_ARRAYS));
  expect([wrong.code, wrong.message]).toEqual([
    "protocol",
    'the worker sent "done" where "forward-done" was expected',
  ]);
  const stray = await ziparErrorOf(async () => pending.receive(reply("forward-done", 7), NO_ARRAYS));
  expect([stray.code, stray.message]).toEqual([
    "protocol",
    'the worker sent a "forward-done" to request 7, which nobody waits for',
  ]);
  pending.failAll(wrong); // whoever reads closes the channel over it
  await expect(answer).rejects.toMatchObject({ code: "protocol", message: wrong.message });
});

test("what ends the channel rejects every request with an error of its own, that shows who made it", async () => {
  const pending = new PendingRequests();
  const answers = [askForStats(pending), askForForward(pending)];
  const failure = new ZiparError({ code: "worker-died", message: "it is gone", details: { output: "bye" } });
  pending.failAll(failure);
  const errors = await Promise.all(answers.map((answer) => ziparErrorOf(() => answer)));
  expect(new Set([failure, ...errors]).size).toBe(3);
  for (const [k, caller] of ["askForStats", "askForForward"].entries()) {
    const error = errors[k] as ZiparError;
    expect(error).toMatchObject({ code: "worker-died", message: "it is gone", details: { output: "bye" } });
    expect(error.cause).toBe(failure);
    expect(error.stack?.split("\n")[0]).toBe("ZiparError: it is gone");
    expect(error.stack).toContain(caller);
  }
});

test("a request that the worker refuses rejects alone, with its traceback as the cause", async () => {
  const pending = new PendingRequests();
  const [refused, other] = [askForStats(pending), askForForward(pending)];
  const error: Extract<Reply, { type: "error" }>["error"] = {
    code: "bad-request",
    message: "no such sequence",
    traceback: "Traceback: here",
  };
  pending.receive({ type: "error", epoch: 1, request: 1, frames: [], error }, NO_ARRAYS);
  const thrown = await ziparErrorOf(() => refused);
  expect(thrown.message).toBe('the worker refused "stats": no such sequence');
  expect(thrown).toMatchObject({ code: "protocol", details: { workerCode: "bad-request" } });
  expect(String(thrown.cause)).toContain("Traceback: here");
  expect(thrown.stack).toContain("askForStats");
  pending.receive(reply("forward-done", 2), NO_ARRAYS);
  await other;
});
