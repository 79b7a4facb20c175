import { z } from "zod";
import { LIMITS } from "../protocol/messages.ts";

export const stubOptionsSchema = z.strictObject({
  rows: z.int().min(1).max(LIMITS.gridSide).default(24),
  columns: z.int().min(1).max(LIMITS.gridSide).default(24),
  rowEnd: z.enum(["none", "token"]).default("none"),
  codeCount: z.int().min(2).default(16384),
  promptLength: z.int().min(1).default(1),
  /** Tokens of the row above, from the cell's own column on, that its token depends on. */
  reach: z.int().min(0).default(3),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0),
});

export type StubOptions = z.input<typeof stubOptionsSchema>;
export type ResolvedStubOptions = z.output<typeof stubOptionsSchema>;
