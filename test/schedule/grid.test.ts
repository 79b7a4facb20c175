import { expect, test } from "vitest";
import {
  cellSlot,
  nextTokenForwardCount,
  rowLastSlot,
  rowStride,
  slotCount,
  type TokenGrid,
} from "../../src/schedule/grid.ts";

const plain: TokenGrid = { rows: 3, columns: 5, rowEnd: "none" };
const ended: TokenGrid = { rows: 3, columns: 5, rowEnd: "token" };

test("slots follow raster order after the prompt", () => {
  for (const grid of [plain, ended]) {
    const slots: number[] = [];
    for (let row = 0; row < grid.rows; row++) {
      for (let column = 0; column < grid.columns; column++) slots.push(cellSlot(grid, 2, row, column));
      if (grid.rowEnd === "token") slots.push(rowLastSlot(grid, 2, row));
    }
    expect(slots).toEqual(Array.from({ length: grid.rows * rowStride(grid) }, (_, k) => k + 2));
    expect(slotCount(grid, 2)).toBe(2 + slots.length);
  }
});

test("a row's last slot is its row end, or its last cell where there is none", () => {
  expect(rowLastSlot(plain, 2, 1)).toBe(cellSlot(plain, 2, 1, 4));
  expect(rowLastSlot(ended, 2, 1)).toBe(cellSlot(ended, 2, 1, 4) + 1);
});

test("next-token order is counted as the paper does, one forward per position: 8190 for Emu3's 90 x 90", () => {
  expect(nextTokenForwardCount({ rows: 90, columns: 90, rowEnd: "token" })).toBe(8190);
  expect(nextTokenForwardCount({ rows: 24, columns: 24, rowEnd: "none" })).toBe(576);
});
