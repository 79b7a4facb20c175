import cliProgress from "cli-progress";

/** Bars on stderr, one after the other; on anything but a terminal they show nothing. */
export interface Progress {
  /** Another label begins another bar. */
  show(label: string, completed: number, total: number, note: string): void;
  stop(): void;
}

export function showProgress(): Progress {
  if (!process.stderr.isTTY) return { show() {}, stop() {} };
  let bar: cliProgress.SingleBar | undefined;
  let shown: string | undefined;
  return {
    show(label, completed, total, note) {
      if (label !== shown) {
        bar?.stop();
        bar = startBar(label, completed, total, note);
        shown = label;
      }
      bar?.setTotal(total);
      bar?.update(completed, { note });
    },
    stop() {
      bar?.stop();
      shown = undefined;
    },
  };
}

function startBar(label: string, completed: number, total: number, note: string): cliProgress.SingleBar {
  const bar = new cliProgress.SingleBar(
    {
      format: `${label.padEnd(12)} {bar} {percentage}% {note}`,
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: false,
      barsize: 30,
    },
    cliProgress.Presets.shades_classic,
  );
  bar.start(total, completed, { note });
  return bar;
}
