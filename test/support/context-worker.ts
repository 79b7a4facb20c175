import type { Worker } from "../../src/decode/worker.ts";
import type { WorkerSource } from "../../src/decode/worker-source.ts";
import { mix } from "../../src/stub/law.ts";
import type { StubOptions } from "../../src/stub/options.ts";
import { stubWorker } from "../../src/stub/source.ts";
import { answer, type ContextLaw, ContextModel } from "./context-model.ts";

/**
 * The stub worker with a law under which everything matters: what a query sees in each of its branches, and how strong
 * guidance is.
 */
export function contextWorker(options: StubOptions, law: ContextLaw): WorkerSource {
  const stub = stubWorker(options);
  return { open: async (engine) => withContextLaw(await stub.open(engine), law) };
}

function withContextLaw(worker: Worker, law: ContextLaw): Worker {
  const branches = new Map<number, readonly ContextModel[]>();
  const encodePrompt = worker.encodePrompt.bind(worker);
  return Object.assign(worker, {
    encodePrompt: (prompt) => {
      const { conditioning } = prompt;
      const classIndex = conditioning.type === "class" ? conditioning.classIndex : 0;
      branches.set(
        prompt.sequence,
        prompt.cacheRows.map((_, branch) => new ContextModel(7 * classIndex + branch)),
      );
      return encodePrompt(prompt);
    },
    forward: async (steps) =>
      steps.map(({ sequence, plan, sampling, branches: run }) => {
        const all = branches.get(sequence) as readonly ContextModel[];
        const fed = (run ?? [...all.keys()]).map((branch) => (all[branch] as ContextModel).feed(plan));
        const scale = fed.length > 1 ? Math.round(1000 * sampling.guidanceScale) : 0;
        const states = (fed[0] as readonly number[]).map((_, k) =>
          fed.reduce((state, fingerprints) => mix(state, fingerprints[k] as number), scale),
        );
        return answer(plan, states, law, sampling.temperature === 0);
      }),
  } satisfies Partial<Worker>);
}
