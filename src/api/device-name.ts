import { z } from "zod";

const NAME = /^(auto|cpu|cuda(:(0|[1-9]\d?))?)$/;
const GROUP = /^(cpu(\+cpu)+|cuda:(0|[1-9]\d?)(\+cuda:(0|[1-9]\d?))+)$/;

/** Devices that one model can be split over. */
export const MAX_SPLIT = 16;

/** Where a model runs: a device, or a group of them with "+" between. What other programs call theirs is refused by name. */
export const deviceSchema = z.string().refine((name) => NAME.test(name) || isGroup(name), {
  error: ({ input }) => problemOf(String(input)),
});

/** Where one of several workers runs: a device, or several that one model is split over. */
export const placeSchema = z.union([
  deviceSchema,
  z
    .array(z.string())
    .min(1)
    .transform((names) => names.join("+"))
    .pipe(deviceSchema),
]);

/** Over how many devices a model is split on this one, as a worker describes it: "cuda:0+cuda:1 NVIDIA H100". */
export function deviceCount(device: string): number {
  return (device.split(" ")[0] as string).split("+").length;
}

function isGroup(name: string): boolean {
  const names = name.split("+");
  const areApart = names[0] === "cpu" || new Set(names).size === names.length;
  return GROUP.test(name) && names.length <= MAX_SPLIT && areApart;
}

function problemOf(name: string): string {
  const expected = 'expected "auto", "cpu", "cuda" or "cuda:N", N from 0 to 99';
  if (/^mps\b/i.test(name)) return `the GPU of a Mac (MPS) is not supported yet, "cpu" is; ${expected}`;
  if (name.includes("+"))
    return `one model is split over 2 to ${MAX_SPLIT} different GPUs, "cuda:0+cuda:1", or over processes on the CPU, "cpu+cpu"`;
  if (/[,; ]/.test(name))
    return `${expected}, "cuda:0+cuda:1" for one model over both, or the engine's \`devices\` for a worker on each`;
  return expected;
}
