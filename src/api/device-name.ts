import { z } from "zod";

const NAME = /^(auto|cpu|cuda(:(0|[1-9]\d?))?)$/;

/** Where a model runs. What other programs call their devices is refused by name. */
export const deviceSchema = z.string().refine((name) => NAME.test(name), {
  error: ({ input }) => problemOf(String(input)),
});

function problemOf(name: string): string {
  const expected = 'expected "auto", "cpu", "cuda" or "cuda:N", N from 0 to 99';
  if (/^mps\b/i.test(name)) return `the GPU of a Mac (MPS) is not supported yet, "cpu" is; ${expected}`;
  if (/[,;+ ]/.test(name))
    return `a model is not split over several devices; ${expected}, or the engine's \`devices\` for a worker on each`;
  return expected;
}
