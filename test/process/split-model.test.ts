import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import {
  createEngine,
  type Engine,
  type EngineOptions,
  type GenerateOptions,
  type GenerationResult,
  inspectModel,
} from "../../src/index.ts";
import { buildIfStale } from "../support/build.ts";
import { ziparErrorOf } from "../support/errors.ts";
import { childrenOf, isAlive, msUntil } from "../support/processes.ts";
import { listening, TOKEN } from "../support/remote.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const HOST = join(import.meta.dirname, "fixtures/host.mjs");

type Checkpoint = Parameters<typeof tinyCheckpoint>[0];

/** Of those whose files do not say it. */
const SIZES: Partial<Record<Checkpoint, EngineOptions["size"]>> = {
  "lumina-mgpt": { width: 128, height: 128 },
  "lumina-mgpt-2": { width: 64, height: 64 },
  star: { width: 96, height: 96 },
  simplear: { width: 96, height: 96 },
  "emu3-5": { width: 128, height: 96 },
};

const KINDS: readonly GenerateOptions[] = [
  { window: "full", temperature: 0 },
  { window: "full", lookahead: 12 },
  { window: 3, lookahead: "auto" },
  { window: 2, guidanceScale: 1 },
  { window: { kind: "guessed", size: 2 } },
  { window: "adaptive", topK: 12 },
];

type Case = readonly [name: string, checkpoint: Checkpoint, more: Partial<EngineOptions>];

const FEW_FAMILIES: readonly Case[] = [
  ["LlamaGen, with fewer heads of K and V", "4x5", {}],
  ["Emu3, weights and K/V in int8", "emu3-original", { weights: "int8", kvCache: "int8" }],
  ["STAR", "star", {}],
];

/** Half a minute each. That each family is split rightly is held by python-worker/tests/test_split.py, in one process. */
const OTHER_FAMILIES: readonly Case[] = [
  ["LlamaGen, text to image", "captions", {}],
  ["Emu3", "emu3-hf", {}],
  ["Emu3.5", "emu3-5", {}],
  ["Lumina-mGPT", "lumina-mgpt", {}],
  ["Lumina-mGPT 2.0", "lumina-mgpt-2", {}],
  ["Janus-Pro", "janus-native", {}],
  ["Liquid", "liquid", {}],
  ["Anole", "anole-hf", {}],
  ["SimpleAR", "simplear", {}],
];

const digestOf = (pixels: Uint8Array) => createHash("sha256").update(pixels).digest("hex");

function optionsOf(name: Checkpoint, device: string): EngineOptions {
  const size = SIZES[name];
  return { model: tinyCheckpoint(name), device, maxImages: 3, ...(size === undefined ? {} : { size }) };
}

// Linux alone finds the ranks of a group to each other.
describe.runIf(process.platform === "linux")("a model that is split over two processes", () => {
  test.each([...FEW_FAMILIES, ...(process.env.ZIPAR_TEST_EVERY_SPLIT === "1" ? OTHER_FAMILIES : [])])(
    "makes the pictures of one process: %s",
    async (_, name, more) => {
      const [whole, split] = await Promise.all([
        createEngine({ ...optionsOf(name, "cpu"), ...more }),
        createEngine({ ...optionsOf(name, "cpu+cpu"), ...more }),
      ]);
      await using _whole = whole;
      await using _split = split;
      expect(split.device).toBe("cpu+cpu");
      expect(split.card).toEqual(whole.card);
      const isOfClasses = whole.card.conditioning.type === "class";
      const subject = isOfClasses ? { classLabel: 2 } : { prompt: "a red cube" };
      const image = whole.card.imageDecoder !== null;
      const draw = (engine: Engine) =>
        Promise.all(KINDS.map((kind) => engine.generate({ seed: 7, image, ...subject, ...kind })));
      const [expected, results] = await Promise.all([draw(whole), draw(split)]);
      for (const [k, result] of results.entries()) {
        const other = expected[k] as GenerationResult;
        expect(result.tokens, JSON.stringify(KINDS[k])).toEqual(other.tokens);
        if (image) expect(digestOf(result.image.pixels)).toBe(digestOf(other.image.pixels));
      }
    },
  );

  test("is refused where its heads have no equal shares, and leaves no process", async () => {
    const error = await ziparErrorOf(() => createEngine(optionsOf("4x5", "cpu+cpu+cpu")));
    expect([error.code, error.message]).toEqual([
      "device",
      expect.stringMatching(/split over 3 devices: it has 4 attention heads, .* Give 1 or 2 of them\./),
    ]);
    expect(childrenOf(process.pid).filter((pid) => childrenOf(pid).length > 0)).toEqual([]);
  });

  test("is described with what each of its devices needs", async () => {
    const [whole, split] = await Promise.all([
      inspectModel({ model: tinyCheckpoint("6x8"), device: "cpu" }),
      inspectModel({ model: tinyCheckpoint("6x8"), device: "cpu", tensorParallel: 2 }),
    ]);
    expect(split).toMatchObject({ device: "cpu+cpu", card: whole.card, slotCount: whole.slotCount });
    expect(2 * split.cacheBytesPerImage).toBe(whole.cacheBytesPerImage);
    const bytesOf = ({ weights }: typeof whole, named: string) =>
      weights.find(({ part }) => part === named)?.bytes ?? Number.NaN;
    const share = bytesOf(split, "transformer") / bytesOf(whole, "transformer");
    expect(share).toBeGreaterThan(0.5);
    expect(share).toBeLessThan(0.75);
    expect(bytesOf(split, "image tokenizer")).toBe(bytesOf(whole, "image tokenizer"));
    expect(split.freeBytes).toBeLessThan(0.75 * (whole.freeBytes as number));
  });

  test("counts the memory of all its processes", async () => {
    await using engine = await createEngine(optionsOf("4x4", "cpu+cpu"));
    const [follower] = childrenOf(engine.workerPid as number);
    expect(isAlive(follower as number)).toBe(true);
    const { residentBytes } = await engine.workerStats();
    expect(residentBytes).toBeGreaterThan(1.5 * ownBytes(engine.workerPid as number));
  });

  test("makes the same picture in a worker that dials in", async () => {
    await buildIfStale();
    const request = { classLabel: 2, window: 3, seed: 7, image: false } as const;
    const startWorker = (endpoint: string) => {
      const worker = ["worker", "--connect", endpoint, "--device", "cpu", "--tensor-parallel", "2"];
      return execa(process.execPath, [CLI, ...worker], { env: { ZIPAR_TOKEN: TOKEN }, reject: false });
    };
    const commands: ReturnType<typeof startWorker>[] = [];
    const answering = listening({ listen: "tcp://127.0.0.1:0", token: TOKEN }, (endpoint) =>
      commands.push(startWorker(endpoint)),
    );
    {
      await using remote = await createEngine({ model: tinyCheckpoint("4x4"), ...answering });
      expect(remote.device).toBe("cpu+cpu");
      const { tokens } = await remote.generate(request);
      await using whole = await createEngine(optionsOf("4x4", "cpu"));
      expect(tokens).toEqual((await whole.generate(request)).tokens);
    }
    const [command] = commands as [ReturnType<typeof startWorker>];
    const [worker] = childrenOf(command.pid as number) as [number];
    const ranks = [worker, ...childrenOf(worker)];
    expect(ranks).toHaveLength(2);
    command.kill("SIGKILL");
    await msUntil(() => !ranks.some(isAlive), 5_000);
    await command;
  });

  describe("in a program that is killed", () => {
    beforeAll(buildIfStale);

    test.each(["keep", "decode"] as const)(
      "(%s) leaves no process behind, not even one that was stopped",
      async (mode) => {
        const host = execa(process.execPath, [HOST, mode, tinyCheckpoint("9x9"), "cpu+cpu"], {
          reject: false,
        });
        const worker = Number(
          await firstOutput(host.stdout, mode === "keep" ? /(\d+)\n/ : /(\d+)\ndecoding/),
        );
        const ranks = [worker, ...childrenOf(worker)];
        expect(ranks).toHaveLength(2);
        process.kill(ranks[1] as number, "SIGSTOP");
        host.kill("SIGKILL");
        expect(await msUntil(() => !ranks.some(isAlive), 5_000)).toBeLessThan(1_000);
        await host;
      },
    );
  });
});

function ownBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4096;
}

async function firstOutput(stdout: AsyncIterable<unknown>, pattern: RegExp): Promise<string> {
  let output = "";
  for await (const chunk of stdout) {
    output += chunk;
    const found = pattern.exec(output);
    if (found) return found[1] as string;
  }
  throw new Error(`it ended with nothing but ${output}`);
}
