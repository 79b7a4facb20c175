import { expect, test } from "vitest";
import { fuzzReplies } from "../fuzz/replies.ts";

test("damaged replies are taken or refused with a typed error, never anything else", async () => {
  const outcome = await fuzzReplies({ count: 20_000, seed: 7 });
  expect(outcome.problems).toEqual([]);
  expect(outcome.taken).toBeGreaterThan(500);
  expect(outcome.refused).toBeGreaterThan(10_000);
});
