import { markdownTable } from "../report/markdown-table.ts";
import type { AttentionShares, LocalityReport } from "./report.ts";

const SHARES: readonly { readonly name: string; readonly share: keyof AttentionShares }[] = [
  { name: "token before", share: "previous" },
  { name: "rest of the row", share: "ownRow" },
  { name: "cell above", share: "above" },
  { name: "row above, left", share: "aboveLeft" },
  { name: "row above, right", share: "aboveRight" },
  { name: "higher rows", share: "higher" },
  { name: "prompt, row ends", share: "other" },
];

/** The report as Markdown: where attention goes, the windows of each row, and each head. */
export function drawLocalityTable(report: LocalityReport): string {
  const { model, device, dtype, samples, seed, rows, columns, layers, heads, windowQuantile } = report;
  const { windows, windowsWithOwnSlotSeen, shares, evenShares, perHead } = report;
  const seen = (k: number) => {
    const row = windowsWithOwnSlotSeen?.[k];
    return row === undefined ? [] : [String(row.p50), String(row.p90)];
  };
  const sections = [
    `${model} on ${device}, ${dtype}: ${samples} images of ${rows} x ${columns} tokens in next-token order, seeds from ` +
      `${seed}; ${layers} layers of ${heads} heads.`,
    `Suggested window: ${report.suggestedWindow} of ${columns} columns (median over rows of the 90 % quantile over heads).`,
    "Attention, mean over queries, heads and layers:",
    markdownTable(
      ["to", "share", "if spread evenly"],
      SHARES.map(({ name, share }) => [
        name,
        percent(shares[share]),
        share === "other" ? "" : percent(evenShares[share]),
      ]),
    ),
    `Smallest window that keeps ${percent(windowQuantile)} of a row start's attention on the image:`,
    markdownTable(
      [
        "row",
        "mean attention",
        "p50",
        "p90",
        "max",
        "spread evenly",
        ...(windowsWithOwnSlotSeen === null ? [] : ["p50, own slot seen", "p90, own slot seen"]),
      ],
      windows.map(({ row, mean, p50, p90, max, even }, k) => [
        ...[row, mean, p50, p90, max, even].map(String),
        ...seen(k),
      ]),
    ),
    "Share of a row start's attention on the image that a window keeps if higher rows are complete, mean over rows, heads and layers:",
    markdownTable(
      ["window", "kept"],
      report.keptByWindow.map((kept, k) => [String(k + 1), percent(kept)]),
    ),
    "Heads; the window is the median over rows:",
    markdownTable(
      ["layer", "head", "window", ...SHARES.map(({ name }) => name)],
      perHead.map((head) => [
        ...[head.layer, head.head, head.window].map(String),
        ...SHARES.map(({ share }) => percent(head[share])),
      ]),
    ),
  ];
  return `${sections.join("\n\n")}\n`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
