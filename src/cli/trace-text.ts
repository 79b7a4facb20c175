import type { Trace } from "../trace/format.ts";
import {
  guessesOf,
  scheduleOf,
  summarizeTrace,
  type TraceSummary,
  timingOf,
  titleOf,
} from "../trace/summary.ts";
import { drawGrid } from "./wavefront.ts";

/** A trace as text: what was generated, the forward of each cell, windows, drafts and times. */
export function describeTrace(trace: Trace, width: number): string {
  const summary = summarizeTrace(trace);
  const drafts = summary.draftCount === 0 ? [] : [draftsOf(summary)];
  const guesses = summary.guessCount === 0 ? [] : [`lookahead: ${guessesOf(summary)}`];
  return [
    titleOf(trace),
    scheduleOf(trace, summary),
    ...drawGrid(summary, width),
    "",
    ...wrap(`windows at which rows 1 to ${summary.rows - 1} opened:`, summary.openedAt, width),
    ...drafts,
    ...guesses,
    timingOf(summary),
  ].join("\n");
}

function draftsOf({ draftCount, rejectedCount }: TraceSummary): string {
  return `drafts: ${draftCount}, of which ${rejectedCount} were rejected`;
}

/** Numbers after a heading; equal ones are told once. */
function wrap(heading: string, numbers: readonly number[], width: number): readonly string[] {
  const [first] = numbers;
  if (first === undefined) return [];
  if (numbers.every((number) => number === first)) return [`${heading} ${first} each`];
  const lines = [heading];
  for (const number of numbers) {
    const word = number === 0 ? " -" : ` ${number}`;
    const line = lines.at(-1) as string;
    if (line.length + word.length > width) lines.push(`  ${word}`);
    else lines[lines.length - 1] = line + word;
  }
  return lines;
}
