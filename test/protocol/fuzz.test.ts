import { expect, test } from "vitest";
import { fuzzReplies } from "../fuzz/replies.ts";
import { runs } from "../support/property-runs.ts";

test("damaged replies are taken or refused with a typed error, never anything else", async () => {
  const count = 1000 * runs(20);
  const outcome = await fuzzReplies({ count, seed: 7 });
  expect(outcome.problems).toEqual([]);
  expect(outcome.taken).toBeGreaterThan(count / 40);
  expect(outcome.refused).toBeGreaterThan(count / 2);
});
