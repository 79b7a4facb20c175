import { prefixCount } from "../server/generation-events.ts";
import type { Decoding } from "./decoding.ts";

/** What is drawn over the cells of a picture once a forward has run, beside the cells that are decoded. */
export interface Mark {
  readonly kind: "new" | "guess-held" | "guess-fell" | "guess-open" | "draft-held" | "draft-refused";
  readonly row: number;
  readonly column: number;
}

/**
 * The marks of a forward, from 1. A guess was fed in the place of a cell that was not decoded: it held where the forward
 * made the cell final with that very token, fell where with another one, and is open where the cell is not final yet. Drafts
 * are of a row's first cell.
 */
export function marksAt({ start, steps, forwardOf }: Decoding, forward: number): readonly Mark[] {
  const step = steps[forward - 1];
  if (start === undefined || step === undefined) return [];
  const { columns } = start.grid;
  const tokens = new Map(step.cells.map(({ row, column, token }) => [row * columns + column, token]));
  const guesses = step.guesses.cells.map(({ row, column, token }): Mark => {
    const cell = row * columns + column;
    const decodedBy = forwardOf[cell] ?? 0;
    const isFinal = decodedBy > 0 && decodedBy <= forward;
    const kind = !isFinal ? "guess-open" : tokens.get(cell) === token ? "guess-held" : "guess-fell";
    return { kind, row, column };
  });
  const drafts = step.drafts.map(
    ({ type, row }): Mark => ({
      kind: type === "draft-accepted" ? "draft-held" : "draft-refused",
      row,
      column: 0,
    }),
  );
  const decoded = step.cells.map(({ row, column }): Mark => ({ kind: "new", row, column }));
  return [...decoded, ...guesses, ...drafts];
}

/** Forwards since the cell was decoded; undefined where it is not by then. Cells that were given are older than all. */
export function ageAt({ forwardOf, start }: Decoding, cell: number, forward: number): number | undefined {
  if (start !== undefined && cell < prefixCount(start)) return Number.POSITIVE_INFINITY;
  const decodedBy = forwardOf[cell] ?? 0;
  return decodedBy === 0 || decodedBy > forward ? undefined : forward - decodedBy;
}
