import type { TokenGrid } from "../../src/schedule/grid.ts";

/** The rule taken word for word: at every forward, decode whatever may be decoded. Returns the forward of each cell. */
export function naiveSchedule({ rows, columns }: TokenGrid, window: number): number[] {
  const at = new Array<number>(rows * columns).fill(0);
  const before = (row: number, column: number, forward: number) => {
    const decodedAt = at[row * columns + column] as number;
    return decodedAt > 0 && decodedAt < forward;
  };
  for (let forward = 1; at.includes(0); forward++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (at[row * columns + column] !== 0) continue;
        let may = column === 0 || before(row, column - 1, forward);
        if (row === 0 && column === 0 && forward > 1) may = false;
        for (let k = column; row > 0 && k < Math.min(column + window, columns); k++)
          may &&= before(row - 1, k, forward);
        if (may) at[row * columns + column] = forward;
      }
    }
  }
  return at;
}
