/** What `npm run bench -- --against` is told, checked. */
import { FAMILIES, type FamilyName } from "./families.ts";

export interface AgainstOptions {
  /** The user's checkouts of the official LlamaGen and of the reference ZipAR; undefined: that side is left out. */
  readonly llamagen: string | undefined;
  readonly zipar: string | undefined;
  readonly families: readonly FamilyName[];
  /** Of the transformers; undefined: each family's own number. */
  readonly layers: number | undefined;
  /** That every side makes, in turn with the others, after one for warm-up. */
  readonly images: number;
  /** Folder of `against.md`. */
  readonly out: string;
}

/** For `parseArgs` of node:util. */
export const againstFlags = {
  against: { type: "boolean" },
  llamagen: { type: "string" },
  zipar: { type: "string" },
  families: { type: "string" },
  layers: { type: "string" },
  images: { type: "string" },
  out: { type: "string" },
} as const;

type Given = { readonly against?: boolean | undefined } & {
  readonly [Flag in Exclude<keyof typeof againstFlags, "against">]?: string | undefined;
};

/**
 * undefined: it was not asked for.
 * @throws Error that says which option is wrong, and what it may be
 */
export function resolveAgainst(given: Given, defaultOut: string): AgainstOptions | undefined {
  if (!given.against) {
    const [lone] = Object.keys(againstFlags).filter((flag) => given[flag as keyof Given] !== undefined);
    if (lone === undefined) return undefined;
    throw new Error(`--${lone} belongs to --against: give both, or none`);
  }
  return {
    llamagen: given.llamagen,
    zipar: given.zipar,
    families: given.families === undefined ? FAMILY_NAMES : given.families.split(",").map(familyName),
    layers: given.layers === undefined ? undefined : count("layers", given.layers, 1),
    images: given.images === undefined ? 3 : count("images", given.images, 2),
    out: given.out ?? defaultOut,
  };
}

const FAMILY_NAMES = FAMILIES.map(({ name }) => name);

function familyName(given: string): FamilyName {
  const name = FAMILY_NAMES.find((known) => known === given.trim());
  if (name === undefined)
    throw new Error(
      `--families: expected some of ${FAMILY_NAMES.join(", ")}, with commas; received ${JSON.stringify(given)}`,
    );
  return name;
}

function count(flag: string, given: string, least: number): number {
  if (!/^\d{1,6}$/.test(given) || Number(given) < least)
    throw new Error(
      `--${flag}: expected a whole number from ${least} to 999999; received ${JSON.stringify(given)}`,
    );
  return Number(given);
}
