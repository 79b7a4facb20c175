import { expect, test } from "vitest";
// @ts-expect-error - a script without types
import { fuzzReplies } from "../../scripts/fuzz/fuzz-replies.mjs";
import { ZiparError } from "../../src/errors.ts";
import { decodeReply } from "../../src/protocol/codec.ts";
import { SocketWorker } from "../../src/worker/socket-worker.ts";
import { PACKAGE_ROOT } from "../support/tiny-checkpoint.ts";

test("damaged replies are taken or refused with a typed error, never anything else", async () => {
  const code = { decodeReply, SocketWorker, ZiparError };
  const outcome = await fuzzReplies(code, { count: 20_000, seed: 7, root: PACKAGE_ROOT });
  expect(outcome.problems).toEqual([]);
  expect(outcome.taken).toBeGreaterThan(500);
  expect(outcome.refused).toBeGreaterThan(10_000);
}, 60_000);
