import cliProgress from "cli-progress";

/** A progress bar on stderr; on anything but a terminal it shows nothing. */
export interface ProgressBar {
  update(completed: number, total: number, note: string): void;
  stop(): void;
}

export function progressBar(label: string): ProgressBar {
  if (!process.stderr.isTTY) return { update() {}, stop() {} };
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
  let isStarted = false;
  return {
    update(completed, total, note) {
      if (!isStarted) bar.start(total, completed, { note });
      isStarted = true;
      bar.setTotal(total);
      bar.update(completed, { note });
    },
    stop() {
      if (isStarted) bar.stop();
    },
  };
}
