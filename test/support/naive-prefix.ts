import { PURPOSE, type RandomKey, uniform } from "../../src/schedule/random.ts";
import type { Query } from "../../src/schedule/step-plan.ts";
import type { SurrogateRule } from "../../src/schedule/surrogate.ts";
import { answer, type ContextLaw, ContextModel } from "./context-model.ts";
import type { Setting } from "./grids.ts";

/**
 * Plain decoding below given rows, word for word: the given rows are fed before anything else; then, in each forward, every
 * cell is decoded that may be. Tokens in raster order, and the forwards.
 */
export function naivePrefix(
  { grid: { rows, columns, rowEnd }, promptLength, window, refreshRowEnds }: Setting,
  prefix: readonly number[],
  surrogate: SurrogateRule,
  { law, isGreedy, seed, key }: { law: ContextLaw; isGreedy: boolean; seed: number; key: RandomKey },
): { tokens: readonly number[]; forwards: number } {
  const stride = columns + (rowEnd === "token" ? 1 : 0);
  const slotOf = (row: number, column: number) => promptLength + row * stride + column;
  const given = prefix.length / columns;
  const tokens: number[][] = Array.from({ length: rows }, (_, row) =>
    row < given ? prefix.slice(row * columns, (row + 1) * columns) : [],
  );
  const model = new ContextModel(seed);
  const written = new Set<number>();
  const feed = (queries: readonly Query[]) => {
    for (const { slot } of queries) written.add(slot);
    const runs = Int32Array.from([...written].sort((a, b) => a - b).flatMap((slot) => [slot, slot + 1]));
    const plan = { queries: [...queries].sort((a, b) => a.slot - b.slot), runs };
    const results = answer(plan, model.feed(plan), law, isGreedy);
    for (const [k, { want }] of plan.queries.entries()) {
      const result = results[k];
      if (want.type === "draw" && result !== undefined && "token" in result)
        (tokens[want.row] as number[])[want.column] = result.token;
    }
  };
  const query = (
    slot: number,
    token: number,
    step: number,
    want: Query["want"] = { type: "none" },
  ): Query => ({
    kind: "ordinary",
    token,
    slot,
    step,
    want,
  });

  const before = Array.from({ length: promptLength }, (_, slot) => query(slot, 0, 0));
  for (let row = 0; row < given; row++) {
    for (const [column, token] of (tokens[row] as number[]).entries())
      before.push(query(slotOf(row, column), token, 0));
    if (rowEnd === "token") before.push(query(slotOf(row, columns), law.codeCount, 0));
  }
  const last = before.pop() as Query; // it predicts the first cell that is decoded
  feed(before);

  let forward = 0;
  for (; (tokens[rows - 1] as number[]).length < columns; forward++) {
    const counts = tokens.map(({ length }) => length);
    const count = (row: number) => counts[row] as number;
    const at = (row: number, column: number) => tokens[row]?.[column] as number;
    const draw = (row: number, column: number) =>
      ({ type: "draw", row, column, uniform: uniform(key, row, column, PURPOSE.token) }) as const;
    const queries: Query[] = [];
    for (let row = given; row < rows; row++) {
      const column = count(row);
      if (column === columns) {
        const isFed = forward > (row - given) * window + columns; // one forward after its last cell was decoded
        if (isFed || row === rows - 1 || (rowEnd === "none" && window === columns)) continue;
        queries.push(query(slotOf(row, columns - 1), at(row, columns - 1), forward));
        if (rowEnd === "token" && refreshRowEnds && window < columns)
          queries.push(query(slotOf(row, columns), law.codeCount, forward));
        continue;
      }
      if (row > 0 && count(row - 1) < Math.min(column + window, columns)) break;
      if (column > 0)
        queries.push(query(slotOf(row, column - 1), at(row, column - 1), forward, draw(row, column)));
      else if (row === given) queries.push({ ...last, want: draw(row, 0) });
      else {
        const source = Math.max(0, row - 2);
        const standIn = {
          "two-rows-up": at(source, count(source) - 1),
          newest: at(row - 1, count(row - 1) - 1),
          above: at(row - 1, 0),
        }[surrogate];
        const token =
          rowEnd === "token" ? law.codeCount : window === columns ? at(row - 1, columns - 1) : standIn;
        queries.push(query(slotOf(row, 0) - 1, token, forward, draw(row, 0)));
      }
    }
    feed(queries);
  }
  return { tokens: tokens.flat(), forwards: forward };
}
