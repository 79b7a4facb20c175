import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import type { TestProject } from "vitest/node";
import { runPython } from "./python.ts";

/**
 * Checkpoints with random weights in official formats, which all tests share: `[family, ...options]` of the worker's
 * own script. LlamaGen's are named by their rows and columns.
 */
const CHECKPOINTS = {
  "4x4": ["llamagen", "--rows", "4", "--columns", "4", "--no-vq"],
  "4x5": ["llamagen", "--rows", "4", "--columns", "5", "--no-vq", "--kv-heads", "2"],
  "6x8": ["llamagen", "--rows", "6", "--columns", "8"],
  "8x8": ["llamagen", "--rows", "8", "--columns", "8", "--no-vq", "--seed", "1"],
  "9x9": ["llamagen", "--rows", "9", "--columns", "9"],
  "9x10": ["llamagen", "--rows", "9", "--columns", "10", "--no-vq", "--seed", "8"],
  "90x90": "llamagen --rows 90 --columns 90 --no-vq --layers 1 --dim 16 --heads 1 --codes 16".split(" "),
  captions: ["llamagen", "--rows", "6", "--columns", "9", "--text", "--seed", "3"],
  "emu3-original": ["emu3", "--layout", "original", "--area", "2304", "--seed", "3"],
  "emu3-hf": ["emu3", "--layout", "hf", "--area", "2304", "--seed", "3"],
  "emu3-5": ["emu3-5", "--seed", "3"],
  "lumina-mgpt": ["lumina-mgpt", "--size", "128", "--seed", "3"],
  "lumina-mgpt-2": ["lumina-mgpt-2", "--seed", "3"],
  "janus-native": ["janus", "--layout", "native", "--rows", "6", "--seed", "3"],
  "janus-transformers": ["janus", "--layout", "transformers", "--rows", "6", "--seed", "3"],
  liquid: ["liquid", "--seed", "3"],
  "anole-meta": ["anole", "--seed", "3"],
  "anole-hf": ["anole", "--layout", "hf", "--seed", "3"],
  star: ["star", "--seed", "3"],
  simplear: ["simplear", "--seed", "3"],
} as const;

declare module "vitest" {
  interface ProvidedContext {
    readonly tinyCheckpoints: string;
  }
}

const WRITE_ALL = `
import json, sys
from zipar_testing.tiny.__main__ import main
for arguments in json.loads(sys.argv[1]):
    main(arguments)
`;

/** Vitest's global set-up: one process writes them all, as importing PyTorch takes longer than the writing. */
export default async function writeTinyCheckpoints(project: TestProject): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), "zipar-test-checkpoints-"));
  const jobs = Object.entries(CHECKPOINTS).map(([name, options]) => [
    ...options,
    "--out",
    join(folder, name),
  ]);
  await runPython(["-c", WRITE_ALL, JSON.stringify(jobs)]);
  project.provide("tinyCheckpoints", folder);
  return () => rmSync(folder, { recursive: true, force: true });
}

/** The directory of one of them. */
export function tinyCheckpoint(name: keyof typeof CHECKPOINTS): string {
  return join(inject("tinyCheckpoints"), name);
}
