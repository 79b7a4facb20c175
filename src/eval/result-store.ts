import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Source } from "../protocol/messages.ts";
import { writeWhole } from "../system/write-whole.ts";

const samplesSchema = z.object({
  wallMs: z.number(),
  nextTokenForwards: z.int(),
  hasPictures: z.boolean(),
  images: z.array(
    z.object({
      classIndex: z.int(),
      seed: z.int(),
      forwards: z.int(),
      bitsPerToken: z.number(),
      /** Mean window at which the rows after the first opened; under an adaptive window alone. */
      openedAt: z.number().optional(),
    }),
  ),
  /** Per class: tokens at temperature 0, raster order. */
  greedyTokens: z.array(z.array(z.int())),
});

/** What was measured of one setting. */
export type SettingSamples = z.infer<typeof samplesSchema>;

/**
 * Results of settings that are done, one file each, named by the setting and a hash of everything that they depend on:
 * an evaluation that was interrupted goes on after the last complete setting, one of another kind begins anew.
 */
export interface ResultStore {
  read(name: string, parameters: unknown): SettingSamples | undefined;
  write(name: string, parameters: unknown, samples: SettingSamples): Promise<void>;
  /** Where the pictures of a setting go. */
  picturesPath(name: string, parameters: unknown): string;
}

export function openResultStore(folder: string): ResultStore {
  mkdirSync(folder, { recursive: true });
  const pathOf = (name: string, parameters: unknown, ending: string) =>
    join(folder, `${slugOf(name)}-${hashOf(parameters)}.${ending}`);
  return {
    read(name, parameters) {
      const path = pathOf(name, parameters, "json");
      if (!existsSync(path)) return undefined;
      const samples = samplesSchema.parse(JSON.parse(readFileSync(path, "utf8")));
      const isWhole = !samples.hasPictures || existsSync(pathOf(name, parameters, "safetensors"));
      return isWhole ? samples : undefined;
    },
    write(name, parameters, samples) {
      return writeWhole(pathOf(name, parameters, "json"), JSON.stringify(samples));
    },
    picturesPath: (name, parameters) => pathOf(name, parameters, "safetensors"),
  };
}

/** Tells one state of a checkpoint's weights from another: names, sizes and times of its files, or what the hub calls it. */
export function checkpointState(source: Source): readonly string[] {
  if (source.type === "hub") return [JSON.stringify(source)];
  const { path } = source;
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .sort()
        .map((name) => join(path, name))
    : [path];
  return files
    .map((file) => ({ file, facts: statSync(file) }))
    .filter(
      ({ file, facts }) =>
        facts.isFile() && !/(\.md|classifier\.safetensors|features\.safetensors)$/.test(file),
    )
    .map(({ file, facts }) => `${file} ${facts.size} ${facts.mtimeMs}`);
}

function slugOf(name: string): string {
  return name.replace(/[^a-z0-9]+/g, "-");
}

function hashOf(parameters: unknown): string {
  return createHash("sha256").update(JSON.stringify(parameters)).digest("hex").slice(0, 12);
}
