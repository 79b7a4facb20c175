/** What is compared: for each family the shape of its weights, the loops of others and ours, and what ours aims at. */
import type { GenerateOptions } from "#zipar/api/generate-options";

export type FamilyName = "llamagen" | "janus" | "emu3";

export interface Family {
  readonly name: FamilyName;
  readonly title: string;
  readonly layers: number;
  /** Of `zipar_testing.tiny`, but for `--layers` and `--seed`. */
  readonly shape: readonly string[];
  readonly guidanceScale: number;
  /** Each image takes the next one. Of LlamaGen they are numbers of classes. */
  readonly prompts: readonly string[];
  readonly sides: readonly Side[];
  readonly aims: readonly Aim[];
}

export type Side = OtherSide | OwnSide;

export interface OtherSide {
  readonly name: string;
  /** A module of `zipar_testing.against`, and its options beside `--model`, `--guidance` and `--checkout`. */
  readonly loop: readonly [module: string, ...options: string[]];
  /** The option that names the checkout it needs. */
  readonly checkout?: "llamagen" | "zipar";
}

export interface OwnSide {
  readonly name: string;
  readonly generate: Pick<GenerateOptions, "window" | "lookahead">;
  /** Name of the side of others whose greedy tokens ours must equal. */
  readonly tokensOf?: string;
}

/** `side` makes an image at least `factor` times as fast as `than`. */
export interface Aim {
  readonly side: string;
  readonly than: string;
  readonly factor: number;
}

const OFFICIAL = "official LlamaGen";
const REFERENCE = "reference ZipAR, window 4";
const TRANSFORMERS = "transformers";

const PROMPTS = ["a red cat", "a lake at night", "a green house", "a painting of a horse"];

/** `tokensOf`: whose next-token order it is. */
const ownSides = (tokensOf: string): readonly OwnSide[] => [
  { name: "zipar, full", generate: { window: "full", lookahead: 0 }, tokensOf },
  { name: "zipar, full, lookahead", generate: { window: "full" }, tokensOf },
  { name: "zipar, default", generate: {} },
];

export const FAMILIES: readonly Family[] = [
  {
    name: "llamagen",
    title: "LlamaGen-B, 16 x 16 tokens",
    layers: 12,
    shape: "llamagen --dim 768 --heads 12 --codes 16384 --classes 1000 --rows 16 --columns 16 --no-vq".split(
      " ",
    ),
    guidanceScale: 4,
    prompts: ["207", "360", "387", "974", "88", "979"],
    sides: [
      { name: OFFICIAL, loop: ["llamagen"], checkout: "llamagen" },
      { name: REFERENCE, loop: ["zipar", "--window", "4"], checkout: "zipar" },
      ...ownSides(OFFICIAL),
      { name: "zipar, window 4", generate: { window: 4, lookahead: 0 }, tokensOf: REFERENCE },
      { name: "zipar, window 4, lookahead", generate: { window: 4 }, tokensOf: REFERENCE },
    ],
    aims: [
      { side: "zipar, window 4", than: REFERENCE, factor: 3 },
      { side: "zipar, window 4", than: OFFICIAL, factor: 8 },
    ],
  },
  {
    name: "janus",
    title: "Janus-Pro of width 1024, 16 x 16 tokens",
    layers: 20,
    shape: "janus --layout transformers --dim 1024 --heads 8 --codes 16384 --rows 16".split(" "),
    guidanceScale: 5,
    prompts: PROMPTS,
    sides: [{ name: TRANSFORMERS, loop: ["janus"] }, ...ownSides(TRANSFORMERS)],
    aims: [{ side: "zipar, full, lookahead", than: TRANSFORMERS, factor: 3 }],
  },
  {
    name: "emu3",
    title: "Emu3-Gen of width 1024, 16 x 16 tokens",
    layers: 20,
    shape:
      "emu3 --layout hf --dim 1024 --heads 8 --kv-heads 2 --codes 32768 --area 16384 --positions 512 --shard-size 1GB".split(
        " ",
      ),
    guidanceScale: 3,
    prompts: PROMPTS,
    sides: [{ name: TRANSFORMERS, loop: ["emu3"] }, ...ownSides(TRANSFORMERS)],
    aims: [],
  },
];
