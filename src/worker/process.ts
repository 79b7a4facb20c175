import { execa } from "execa";
import type { Logger } from "../logger.ts";
import { OutputTail } from "./output-tail.ts";

export interface WorkerProcessOptions {
  /** Interpreter to run. */
  readonly python: string;
  /** The folder that holds the package `zipar_worker`. */
  readonly workerDirectory: string;
  readonly endpoint: string;
  readonly token: string;
  readonly epoch: number;
  readonly arguments: readonly string[];
  readonly logger: Logger;
}

/** A worker process that we started. */
export class WorkerProcess {
  /** Resolves when the process has ended or could not start, with the reason in words. Never rejects. */
  readonly ended: Promise<string>;
  readonly output = new OutputTail();
  readonly #child: ReturnType<typeof spawn>;

  constructor(options: WorkerProcessOptions) {
    this.#child = spawn(options);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        for (const line of this.output.add(chunk)) options.logger.debug(`worker: ${line}`);
      });
    }
    // The worker reads its token here, never from argv. The pipe stays open: its end tells the worker that we died.
    this.#child.stdin.on("error", () => {}); // a worker that is gone is reported by `ended`
    this.#child.stdin.write(`${JSON.stringify({ token: options.token, epoch: options.epoch })}\n`);
    this.ended = this.#child.then(({ exitCode, signal, originalMessage }) => {
      if (signal !== undefined) return `it was ended by ${signal}`;
      if (exitCode !== undefined) return `it ended with exit code ${exitCode}`;
      return `it could not be started: ${originalMessage}`;
    });
    this.#letNodeEnd();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Tells the process to end by closing its stdin, and ends it after the grace time. */
  async end(graceMs: number): Promise<void> {
    this.#child.ref();
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
    await this.ended;
    clearTimeout(timer);
  }

  /** An idle engine must not keep Node alive; the channel does while a reply is due. */
  #letNodeEnd(): void {
    this.#child.unref();
    for (const stream of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) {
      (stream as { unref?: () => void }).unref?.();
    }
  }
}

function spawn({ python, workerDirectory, endpoint, arguments: extra }: WorkerProcessOptions) {
  return execa(python, ["-m", "zipar_worker", "--connect", endpoint, ...extra], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    buffer: false, // a chatty worker would be killed at maxBuffer
    reject: false,
    env: { PYTHONPATH: workerDirectory, PYTHONUNBUFFERED: "1", PYTHONDONTWRITEBYTECODE: "1" },
    windowsHide: true,
  });
}
