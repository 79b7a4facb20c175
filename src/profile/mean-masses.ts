import type { AttentionMasses } from "../decode/worker.ts";
import type { RowStartAttention } from "./windows.ts";

/** Attention averaged over images of one grid. Arrays as in `AttentionMasses`. */
export interface MeanMasses {
  readonly imageCount: number;
  readonly layers: number;
  readonly heads: number;
  readonly rows: number;
  readonly columns: number;
  readonly mass: Float64Array;
  readonly otherMass: Float64Array;
  readonly rowStartMass: Float64Array;
  readonly rowStartTotal: Float64Array;
}

/** Adds an image to a mean; `undefined` is the mean of none. The arrays of `mean` are changed and go into the result. */
export function addMasses(mean: MeanMasses | undefined, image: AttentionMasses): MeanMasses {
  const imageCount = (mean?.imageCount ?? 0) + 1;
  const { layers, heads, rows, columns } = image;
  const add = (name: "mass" | "otherMass" | "rowStartMass" | "rowStartTotal") => {
    const own = image[name];
    const sum = mean?.[name] ?? new Float64Array(own.length);
    for (let k = 0; k < own.length; k++) {
      sum[k] = (sum[k] as number) + ((own[k] as number) - (sum[k] as number)) / imageCount;
    }
    return sum;
  };
  return {
    imageCount,
    layers,
    heads,
    rows,
    columns,
    mass: add("mass"),
    otherMass: add("otherMass"),
    rowStartMass: add("rowStartMass"),
    rowStartTotal: add("rowStartTotal"),
  };
}

/** The row start of `row` (from 1), for each head of each layer in turn. */
export function rowStartHeads(
  { layers, heads, columns, rowStartMass, rowStartTotal }: MeanMasses,
  row: number,
): readonly RowStartAttention[] {
  return Array.from({ length: layers * heads }, (_, head) => {
    const index = (row - 1) * layers * heads + head;
    return {
      byColumn: rowStartMass.subarray(index * columns, (index + 1) * columns),
      total: rowStartTotal[index] as number,
    };
  });
}

/** The map of some heads averaged: `[rows up][columns - 1 + columns to the right]`. Default: all heads of all layers. */
export function offsetMap(
  { layers, heads, rows, columns, mass }: MeanMasses,
  { first, count } = { first: 0, count: layers * heads },
): readonly (readonly number[])[] {
  const width = 2 * columns - 1;
  return Array.from({ length: rows }, (_, up) =>
    Array.from({ length: width }, (_, k) => {
      let sum = 0;
      for (let head = first; head < first + count; head++) {
        sum += mass[head * rows * width + up * width + k] as number;
      }
      return sum / count;
    }),
  );
}
