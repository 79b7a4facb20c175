/** Damages messages at random, but the same ones for the same seed. */
import { Packr } from "msgpackr";

const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });

/** Values that decoders stumble over. */
const ODD_VALUES = [
  ...[null, true, false, "", "x", "x".repeat(300), "\u0000", "𝓤\ud800", [], {}, [[]], [null]],
  ...[0, -1, 1, 0.5, -0, 1e-320, 1e308, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, -(2 ** 31)],
  ...[2 ** 32, 2 ** 53, 2n ** 63n, -(2n ** 63n), Buffer.from([1, 2, 3]), new Date(0)],
  ...[{ __proto__: null, constructor: 1 }, JSON.parse('{"__proto__": {"type": "hello"}}'), nested(200)],
];

export interface Message {
  readonly header: Record<string, unknown>;
  readonly frames: readonly Uint8Array[];
}

/** A map or a list. */
type Tree = Record<string, unknown>;

/** Makes damaged messages of valid ones: each call gives the parts of the next. */
export function mutator(examples: readonly Message[], seed: number): () => Uint8Array[] {
  const random = randomNumbers(seed);
  const below = (count: number) => Math.floor(random() * count);
  const pick = <Item>(list: readonly Item[]) => list[below(list.length)] as Item;

  function next(): Uint8Array[] {
    const example = pick(examples);
    const header = structuredClone(example.header);
    const damagesHeader = random() < 0.6;
    if (damagesHeader) for (let k = 1 + below(2); k > 0; k--) damageValue(header);
    let parts: Uint8Array[] = [packr.pack(header), ...example.frames].map((part) => new Uint8Array(part));
    if (!damagesHeader || random() < 0.2) for (let k = 1 + below(3); k > 0; k--) parts = damageParts(parts);
    return parts;
  }

  /** Replaces, removes or adds something anywhere in a tree of plain values. */
  function damageValue(root: Tree): void {
    let holder = root;
    for (;;) {
      const keys = Object.keys(holder);
      const key = keys.length === 0 ? "x" : pick(keys);
      const value = holder[key];
      if (isTree(value) && random() < 0.7) {
        holder = value;
        continue;
      }
      const chance = random();
      if (chance < 0.15) delete holder[key];
      else if (chance < 0.3) holder[Array.isArray(holder) ? holder.length : `extra${below(3)}`] = oddValue();
      else if (chance < 0.5 && typeof value === "number")
        holder[key] = value + pick([-1, 1, 2, 256, 65536, 0.5]);
      else if (chance < 0.7) holder[key] = someValueOf(pick(examples).header);
      else holder[key] = oddValue();
      return;
    }
  }

  function someValueOf(tree: Tree): unknown {
    let value: unknown = tree;
    while (isTree(value) && random() < 0.8) value = pick(Object.values(value));
    return structuredClone(value);
  }

  function oddValue(): unknown {
    return structuredClone(pick(ODD_VALUES));
  }

  /** Damages bytes, or which parts there are. */
  function damageParts(parts: Uint8Array[]): Uint8Array[] {
    if (parts.length === 0) return [someBytes()];
    const place = below(parts.length);
    const part = parts[place] as Uint8Array;
    const at = below(part.length + 1);
    const end = Math.min(part.length, at + 1 + below(8));
    const chance = random();
    const changed = (bytes: Uint8Array) => parts.with(place, bytes);
    if (chance < 0.3) return changed(part.map((byte, k) => (k === at ? byte ^ (1 << below(8)) : byte)));
    if (chance < 0.45)
      return changed(part.map((byte, k) => (k === at ? pick([0, 0x7f, 0x80, 0xc1, 0xdd, 0xff]) : byte)));
    if (chance < 0.6) return changed(part.subarray(0, at));
    if (chance < 0.7) return changed(concatenated(part.subarray(0, at), part.subarray(end)));
    if (chance < 0.8) return changed(concatenated(part.subarray(0, end), part.subarray(at)));
    if (chance < 0.88) return changed(concatenated(part.subarray(0, at), someBytes(), part.subarray(at)));
    if (chance < 0.92) return parts.toSpliced(place, 1);
    if (chance < 0.96) return parts.toSpliced(place, 0, someBytes());
    return parts.toSpliced(place, 1, ...pick(examples).frames.slice(0, 1));
  }

  function someBytes(): Uint8Array {
    return Uint8Array.from({ length: below(24) }, () => below(256));
  }

  return next;
}

function isTree(value: unknown): value is Tree {
  return (
    typeof value === "object" && value !== null && !ArrayBuffer.isView(value) && Object.keys(value).length > 0
  );
}

function concatenated(...arrays: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(arrays));
}

function nested(depth: number): unknown[] {
  return depth === 0 ? [] : [nested(depth - 1)];
}

/** Numbers in [0, 1): a 32-bit xorshift. */
function randomNumbers(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
