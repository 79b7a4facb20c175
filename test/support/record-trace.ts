import { createEngine, type GenerateOptions, type StubOptions, stubWorker } from "../../src/index.ts";
import type { Trace } from "../../src/trace/format.ts";
import { parseTrace } from "../../src/trace/read.ts";

/** The lines of a run on the stub, with times that do not depend on the machine: forward k is committed at 10k ms. */
export async function recordTrace(stub: StubOptions, options: GenerateOptions): Promise<string[]> {
  const lines: string[] = [];
  await using engine = await createEngine({ worker: stubWorker(stub) });
  await engine.generate({
    classLabel: 3,
    seed: 5,
    image: false,
    lookahead: 0,
    trace: (line) => lines.push(line),
    ...options,
  });
  return lines.map((line) => {
    const record = JSON.parse(line) as Record<string, unknown>;
    return JSON.stringify(
      "forward" in record ? { ...record, atMs: 10 * (record.forward as number) } : record,
    );
  });
}

export async function traceOf(stub: StubOptions, options: GenerateOptions): Promise<Trace> {
  return parseTrace(await recordTrace(stub, options));
}
