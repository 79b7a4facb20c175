import { PURPOSE, type RandomKey, uniform } from "../../src/schedule/random.ts";
import type { Query } from "../../src/schedule/step-plan.ts";
import type { GuessedWindow } from "../../src/schedule/window.ts";
import { answer, type ContextLaw, ContextModel } from "./context-model.ts";
import type { Setting } from "./grids.ts";

/**
 * The rule of guessed windows taken word for word, cell by cell; tokens in raster order and the forward of each, which is 0
 * for those of a prefix.
 */
export function naiveGuessed(
  { grid: { rows, columns, rowEnd }, promptLength }: Setting,
  { size, unchanged }: GuessedWindow,
  {
    law,
    isGreedy,
    seed,
    key,
    prefix = [],
  }: { law: ContextLaw; isGreedy: boolean; seed: number; key: RandomKey; prefix?: readonly number[] },
): { tokens: number[]; lockedAt: number[] } {
  const stride = columns + (rowEnd === "token" ? 1 : 0);
  const slotOf = (row: number, column: number) => promptLength + row * stride + column;
  const tokens = new Array<number | undefined>(rows * columns).fill(undefined);
  const lastFed = new Array<number | undefined>(rows * columns).fill(undefined);
  const calm = new Array<number>(rows * columns).fill(0);
  const lockedAt = new Array<number>(rows * columns).fill(0);
  const locked = (row: number) => {
    let count = 0;
    while (count < columns && (lockedAt[row * columns + count] !== 0 || row * columns < prefix.length))
      count += 1;
    return count;
  };
  const model = new ContextModel(seed);
  const draw = (row: number, column: number) =>
    ({ type: "draw", row, column, uniform: uniform(key, row, column, PURPOSE.token) }) as const;
  const written = new Set<number>();
  for (const [cell, token] of prefix.entries()) tokens[cell] = lastFed[cell] = token;
  if (prefix.length > 0) {
    const given = slotOf(prefix.length / columns, 0) - 1; // what predicts the first cell is fed with it
    const queries = Array.from({ length: given }, (_, slot): Query => {
      const [row, column] = [Math.floor((slot - promptLength) / stride), (slot - promptLength) % stride];
      const token = column === columns ? law.codeCount : (tokens[row * columns + column] as number);
      return {
        kind: "prompt",
        token: slot < promptLength ? 0 : token,
        slot,
        step: 0,
        want: { type: "none" },
      };
    });
    model.feed({ queries, runs: Int32Array.of(0, given) });
    for (const { slot } of queries) written.add(slot);
  }

  for (let forward = 0; lockedAt.includes(0, prefix.length); forward++) {
    const queries = new Map<number, Query>();
    const feed = (slot: number, token: number, want: Query["want"] = { type: "none" }) =>
      queries.set(slot, { kind: "ordinary", token, slot, step: forward, want });
    if (forward === 0 && prefix.length === 0) {
      for (let slot = 0; slot < promptLength; slot++) feed(slot, 0);
      feed(promptLength - 1, 0, draw(0, 0));
    } else {
      for (let row = 0; row < rows; row++) {
        if (row > 0 && locked(row - 1) === 0) break;
        const count = locked(row);
        for (let column = 0; column < columns; column++) {
          const cell = row * columns + column;
          tokens[cell] ??= row > 0 ? tokens[cell - columns] : tokens[cell - 1];
          if (cell === rows * columns - 1) continue; // nothing follows it
          const token = tokens[cell] as number;
          const isGuess = column >= count;
          const isNewest = column === count - 1 && count < columns;
          const isStale = column < count && lastFed[cell] !== token;
          const startsNext =
            column === columns - 1 &&
            rowEnd === "none" &&
            count > 0 &&
            row + 1 < rows &&
            locked(row + 1) === 0;
          if (!isGuess && !isNewest && !isStale && !startsNext) continue;
          lastFed[cell] = token;
          if (column + 1 < columns) feed(slotOf(row, column), token, draw(row, column + 1));
          else feed(slotOf(row, column), token, startsNext ? draw(row + 1, 0) : undefined);
        }
        if (rowEnd === "token" && count > 0 && row + 1 < rows && locked(row + 1) === 0)
          feed(slotOf(row, columns), law.codeCount, draw(row + 1, 0));
      }
    }
    for (const slot of queries.keys()) written.add(slot);
    const runs = Int32Array.from([...written].sort((a, b) => a - b).flatMap((slot) => [slot, slot + 1]));
    const plan = { queries: [...queries.values()].sort((a, b) => a.slot - b.slot), runs };
    const results = answer(plan, model.feed(plan), law, isGreedy);

    const before = Array.from({ length: rows }, (_, row) => locked(row));
    const redrawn = new Map<number, number>();
    for (const [k, { want }] of plan.queries.entries()) {
      const result = results[k];
      if (want.type === "draw" && result !== undefined && "token" in result)
        redrawn.set(want.row * columns + want.column, result.token);
    }
    for (let row = 0; row < rows; row++) {
      let isOpen = true; // until a token changed
      for (let column = before[row] as number; column < columns; column++) {
        const cell = row * columns + column;
        const token = redrawn.get(cell);
        if (token === undefined) break;
        const isSame = token === tokens[cell];
        calm[cell] = isSame ? (calm[cell] as number) + 1 : 0;
        tokens[cell] = token;
        const above = row === 0 ? columns : (before[row - 1] as number);
        const isFarEnough = above >= Math.min(column + size, columns);
        isOpen &&= isFarEnough && (above === columns || (calm[cell] as number) >= unchanged);
        if (isOpen) lockedAt[cell] = forward + 1;
        isOpen &&= isSame;
      }
    }
  }
  return { tokens: tokens as number[], lockedAt };
}
