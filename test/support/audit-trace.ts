import type { TokenGrid } from "../../src/schedule/grid.ts";
import type { TraceStep } from "./run-schedule.ts";

export interface AuditSetting {
  readonly grid: TokenGrid;
  readonly promptLength: number;
  readonly codeCount: number;
  /** Tokens that row `row - 1` must be ahead of a cell of `row` when that is committed. */
  readonly windowOf: (row: number) => number;
}

/** What an audited run did, for counts that only some tests care about. */
export interface Audit {
  /** Per slot of the image: how often it was fed, and as what. */
  readonly feeds: ReadonlyMap<
    number,
    readonly { readonly forward: number; readonly kind: string; readonly token: number }[]
  >;
  /** Slots covered by the last forward's runs. */
  readonly visible: ReadonlySet<number>;
}

/**
 * Checks a recorded run against the rules of ZipAR decoding (He et al., ICML 2025, section 3), with books of its own:
 * slots by plain arithmetic, tokens and slots in maps, conditions cell by cell. Throws at the first breach.
 */
export function auditTrace(trace: readonly TraceStep[], setting: AuditSetting): Audit {
  const { grid, promptLength, codeCount, windowOf } = setting;
  const { rows, columns, rowEnd } = grid;
  const stride = rowEnd === "token" ? columns + 1 : columns;
  const slotLimit = promptLength + rows * stride;
  const decoded = new Map<string, number>();
  const feeds = new Map<number, { forward: number; kind: string; token: number }[]>();
  const written = new Set<number>();
  let visible = new Set<number>();

  const decodedTokens = (row: number) => {
    let count = 0;
    while (decoded.has(`${row},${count}`)) count++;
    return count;
  };

  for (const [index, step] of trace.entries()) {
    const forward = index + 1;
    const fail = (what: string): never => {
      throw new Error(`forward ${forward}: ${what}`);
    };
    for (const [k, { slot, kind, token }] of step.queries.entries()) {
      if (k > 0 && slot <= (step.queries[k - 1]?.slot as number)) fail(`slot ${slot} is out of order`);
      if (slot < 0 || slot >= slotLimit) fail(`slot ${slot} is outside of the sequence`);
      feeds.set(slot, [...(feeds.get(slot) ?? []), { forward, kind, token }]);
      written.add(slot);
    }

    visible = new Set();
    let lastEnd = -1;
    for (let k = 0; k < step.runs.length; k += 2) {
      const first = step.runs[k] as number;
      const end = step.runs[k + 1] as number;
      if (first <= lastEnd) fail(`run [${first}, ${end}) touches or overlaps the one before it`);
      if (end <= first || end > slotLimit) fail(`run [${first}, ${end}) is empty or too long`);
      lastEnd = end;
      for (let slot = first; slot < end; slot++) {
        if (!written.has(slot)) fail(`slot ${slot} is visible, but holds nothing valid`);
        visible.add(slot);
      }
    }

    for (const { kind, token, slot, want } of step.queries) {
      if (!visible.has(slot)) fail(`the query at slot ${slot} cannot see itself`);
      const row = Math.floor((slot - promptLength) / stride);
      const column = slot < promptLength ? -1 : (slot - promptLength) % stride;
      if (slot < promptLength) {
        if (kind !== "prompt" || token !== 0) fail(`slot ${slot} of the prompt is fed as ${kind} ${token}`);
      } else if (column === columns) {
        if (token !== codeCount) fail(`the row end of row ${row} is fed as token ${token}`);
        if (kind !== "row-start" && kind !== "refresh") fail(`the row end of row ${row} is fed as ${kind}`);
      } else if (kind === "surrogate") {
        if (rowEnd === "token") fail("a surrogate in a grid with row ends");
        if (decoded.has(`${row},${columns - 1}`)) fail(`a surrogate for the decoded end of row ${row}`);
        const source = Math.max(0, row - 1); // of row `row + 1`, whose first cell it predicts
        if (token !== decoded.get(`${source},${decodedTokens(source) - 1}`))
          fail(`${token} is a wrong surrogate`);
      } else if (kind === "draft") {
        if (column !== 0 || decoded.has(`${row},0`)) fail(`a draft for cell (${row}, ${column})`);
      } else if (token !== decoded.get(`${row},${column}`)) {
        fail(`cell (${row}, ${column}) is fed as ${token}, which was not decoded for it`);
      }

      if (want.type === "none") continue;
      const wanted = { row: want.row, column: want.column };
      const isSuccessor =
        column === stride - 1 || column === -1
          ? wanted.column === 0 && wanted.row === (column === -1 ? 0 : row + 1)
          : wanted.column === column + 1 && wanted.row === row;
      if (!isSuccessor) fail(`slot ${slot} does not predict cell (${wanted.row}, ${wanted.column})`);
      if (column === -1 && slot !== promptLength - 1) fail("a draw from within the prompt");
      if (wanted.row === 0) continue;
      const isCommitted = step.cells.some((cell) => cell.row === wanted.row && cell.column === wanted.column);
      const ahead = Math.min(wanted.column + (isCommitted ? windowOf(wanted.row) : 1), columns);
      for (let k = wanted.column; k < ahead; k++) {
        if (!decoded.has(`${wanted.row - 1},${k}`))
          fail(`(${wanted.row}, ${wanted.column}) before (${wanted.row - 1}, ${k})`);
        if (!visible.has(promptLength + (wanted.row - 1) * stride + k))
          fail(`(${wanted.row - 1}, ${k}) is not visible`);
      }
    }

    for (const { row, column, token } of step.cells) {
      if (row < 0 || row >= rows || column < 0 || column >= columns)
        fail(`cell (${row}, ${column}) is outside of the grid`);
      if (decoded.has(`${row},${column}`)) fail(`cell (${row}, ${column}) is committed twice`);
      if (column > 0 && !decoded.has(`${row},${column - 1}`))
        fail(`cell (${row}, ${column}) overtakes its left neighbour`);
      decoded.set(`${row},${column}`, token);
    }
    for (const { kind, slot, token } of step.queries) {
      // a rejected draft leaves keys and values that nothing may see
      if (kind === "draft" && decoded.get(`${(slot - promptLength) / stride},0`) !== token)
        written.delete(slot);
    }
  }
  if (decoded.size !== rows * columns)
    throw new Error(`${decoded.size} of ${rows * columns} cells were committed`);
  return { feeds, visible };
}
