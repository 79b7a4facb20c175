/** The table as it is printed: one line for a fault in a phase, with one image and with many side by side. */
export function formatTable(judged) {
  const lines = judged.map(({ row, verdict, observed }) => [
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

export function summarise(judged) {
  const unexplained = judged.filter(({ verdict }) => verdict.complaints.length > 0).length;
  const noticed = judged.flatMap(({ verdict }) => verdict.noticedMs ?? []).sort((a, b) => a - b);
  const left = judged.map(({ observed }) => [observed.processes.length, observed.directories.length]);
  const sum = (k) => left.reduce((total, counts) => total + counts[k], 0);
  return {
    rows: judged.length,
    unexplained,
    noticedMs: { median: noticed[noticed.length >> 1], largest: noticed.at(-1) },
    processesLeft: sum(0),
    directoriesLeft: sum(1),
  };
}

export function describeTable({ rows, unexplained, noticedMs, processesLeft, directoriesLeft, seconds }) {
  return (
    `${unexplained} unexplained of ${rows}; deaths noticed after ${noticedMs.median} ms (median), at most ` +
    `${noticedMs.largest} ms; left behind: ${processesLeft} processes, ${directoriesLeft} directories; ` +
    `${seconds.toFixed(0)} s`
  );
}

function align(lines) {
  const widths = lines[0].map((_, k) => Math.max(...lines.map((line) => line[k].length)));
  return lines
    .map((line) =>
      line
        .map((cell, k) => cell.padEnd(widths[k]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const PHASES = ["start", "load", "encode-prompt", "prefill", "decode", "rebuild", "decode-image", "idle"];
const SHORT = { "replayed equal": "replayed", equal: "equal" };

/** The same as Markdown: a line for each fault, a column for each phase, one image and many together. */
export function formatMarkdown(judged) {
  const names = [...new Set(judged.map(nameOf))];
  const lines = names.map((name) => {
    const group = judged.filter((entry) => nameOf(entry) === name);
    return [name, ...PHASES.map((phase) => cellOf(group.filter(({ row }) => row.phase === phase)))];
  });
  const head = ["worker: fault", ...PHASES];
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function nameOf({ row }) {
  return `${row.worker}: ${row.name}`;
}

/** Outcomes, and the longest time after which any of these rows was noticed. */
function cellOf(rows) {
  const outcomes = [
    ...new Set(rows.map(({ verdict: { ends } }) => SHORT[ends] ?? ends.replace("error ", ""))),
  ];
  const times = rows.flatMap(({ verdict: { noticedMs } }) => noticedMs ?? []);
  const unexplained = rows.some(({ verdict }) => verdict.complaints.length > 0) ? " UNEXPLAINED" : "";
  return `${outcomes.join("; ")}${times.length > 0 ? ` (${Math.max(...times)})` : ""}${unexplained}`;
}
