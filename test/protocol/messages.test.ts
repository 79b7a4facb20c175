import { describe, expect, test } from "vitest";
import { z } from "zod";
import { replySchema, requestSchema } from "../../src/protocol/messages.ts";

const base = { epoch: 1, request: 1, frames: [] };
const sequence = {
  sequence: 1,
  branches: [0],
  queryCount: 1,
  runCount: 1,
  drawCount: 1,
  guidanceScale: 1,
  temperature: 1,
  topK: 0,
  topP: 1,
};

describe("a request outside of the bounds is refused", () => {
  test.each([
    ["an unknown operation", { type: "explode", ...base }],
    ["an unknown field", { type: "stats", ...base, verbose: true }],
    ["a forward without sequences", { type: "forward", ...base, sequences: [] }],
    ["a sequence without queries", { type: "forward", ...base, sequences: [{ ...sequence, queryCount: 0 }] }],
    ["top-p 0", { type: "forward", ...base, sequences: [{ ...sequence, topP: 0 }] }],
    ["a temperature below 0", { type: "forward", ...base, sequences: [{ ...sequence, temperature: -1 }] }],
    [
      "guidance that is not a number",
      { type: "forward", ...base, sequences: [{ ...sequence, guidanceScale: Number.NaN }] },
    ],
    [
      "a grid wider than the limit",
      {
        type: "encode-prompt",
        ...base,
        sequence: 1,
        cacheRows: [0],
        rows: 1,
        columns: 1025,
        conditioning: { type: "class", classIndex: 0 },
      },
    ],
  ])("%s", (_, message) => {
    expect(requestSchema.safeParse(message).success).toBe(false);
  });
});

test("the same forward within the bounds is taken", () => {
  expect(requestSchema.safeParse({ type: "forward", ...base, sequences: [sequence] }).success).toBe(true);
});

test("every message can be told as JSON Schema, closed against unknown fields", () => {
  for (const schema of [requestSchema, replySchema]) {
    const messages = z.toJSONSchema(schema).oneOf ?? [];
    expect(messages.length).toBe(schema.options.length);
    for (const message of messages) expect(message.additionalProperties, JSON.stringify(message)).toBe(false);
  }
});
