import type { Phase, RowOutcome } from "./types.ts";

/** The table as it is printed: one line for a fault in a phase, with one image and with many side by side. */
export function formatTable(outcomes: readonly RowOutcome[]): string {
  const lines = outcomes.map(({ row, verdict, observed }) => [
    row.worker,
    row.name,
    row.phase,
    row.images,
    verdict.noticedMs === undefined ? "-" : String(verdict.noticedMs),
    verdict.signal ?? "-",
    verdict.ends,
    `${observed.processes.length}/${observed.directories.length}`,
    verdict.complaints.length === 0 ? "" : `UNEXPLAINED: ${verdict.complaints.join("; ")}`,
  ]);
  return align([["worker", "fault", "phase", "images", "noticed ms", "by", "outcome", "left", ""], ...lines]);
}

export interface Summary {
  readonly rows: number;
  readonly unexplained: number;
  /** undefined where nothing was to be noticed. */
  readonly noticedMs: { readonly median: number | undefined; readonly largest: number | undefined };
  readonly processesLeft: number;
  readonly directoriesLeft: number;
}

export function summarise(outcomes: readonly RowOutcome[]): Summary {
  const unexplained = outcomes.filter(({ verdict }) => verdict.complaints.length > 0).length;
  const noticed = outcomes.flatMap(({ verdict }) => verdict.noticedMs ?? []).sort((a, b) => a - b);
  const countLeft = (what: "processes" | "directories") =>
    outcomes.reduce((total, { observed }) => total + observed[what].length, 0);
  return {
    rows: outcomes.length,
    unexplained,
    noticedMs: { median: noticed[noticed.length >> 1], largest: noticed.at(-1) },
    processesLeft: countLeft("processes"),
    directoriesLeft: countLeft("directories"),
  };
}

export function describeTable({
  rows,
  unexplained,
  noticedMs,
  processesLeft,
  directoriesLeft,
  seconds,
}: Summary & { readonly seconds: number }): string {
  return (
    `${unexplained} unexplained of ${rows}; deaths noticed after ${noticedMs.median} ms (median), at most ` +
    `${noticedMs.largest} ms; left behind: ${processesLeft} processes, ${directoriesLeft} directories; ` +
    `${seconds.toFixed(0)} s`
  );
}

function align(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, k) => Math.max(...lines.map((line) => line[k]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, k) => cell.padEnd(widths[k] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const PHASES: readonly Phase[] = [
  "start",
  "load",
  "encode-prompt",
  "prefill",
  "decode",
  "rebuild",
  "decode-image",
  "idle",
];
const SHORT: Readonly<Record<string, string>> = {
  "replayed equal": "replayed",
  "returned equal": "returned",
  equal: "equal",
};

/** The same as Markdown: a line for each fault, a column for each phase, one image and many together. */
export function formatMarkdown(outcomes: readonly RowOutcome[]): string {
  const names = [...new Set(outcomes.map(nameOf))];
  const lines = names.map((name) => {
    const group = outcomes.filter((entry) => nameOf(entry) === name);
    return [name, ...PHASES.map((phase) => cellOf(group.filter(({ row }) => row.phase === phase)))];
  });
  const head = ["worker: fault", ...PHASES];
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function nameOf({ row }: RowOutcome): string {
  return `${row.worker}: ${row.name}`;
}

/** Outcomes, and the longest time after which any of these rows was noticed. */
function cellOf(rows: readonly RowOutcome[]): string {
  const outcomes = [
    ...new Set(rows.map(({ verdict: { ends } }) => SHORT[ends] ?? ends.replace("error ", ""))),
  ];
  const times = rows.flatMap(({ verdict: { noticedMs } }) => noticedMs ?? []);
  const unexplained = rows.some(({ verdict }) => verdict.complaints.length > 0) ? " UNEXPLAINED" : "";
  return `${outcomes.join("; ")}${times.length > 0 ? ` (${Math.max(...times)})` : ""}${unexplained}`;
}
