import { execa } from "execa";
import type { Logger } from "../logger.ts";
import { isolatedVariables, type PythonProgram, runsModule } from "../python/isolation.ts";
import { type ThreadOptions, threadVariables } from "../python/thread-variables.ts";
import { OutputTail } from "./output-tail.ts";

/** How long the last output of a process that has ended may take to arrive. */
const OUTPUT_GRACE_MS = 200;

/** What is run as a worker. */
export interface WorkerProgram extends PythonProgram {
  /** The folder that holds the package `zipar_worker`. */
  readonly directory: string;
  /** The Python module to run: `zipar_worker`, or a worker of the tests that misbehaves. */
  readonly module: string;
  /** Arguments beside the usual ones, e.g. `["--stub", "{}"]`. */
  readonly extraArguments: readonly string[];
}

export interface WorkerProcessOptions extends WorkerProgram {
  readonly endpoint: string;
  readonly token: string;
  readonly epoch: number;
  readonly threadOptions: ThreadOptions;
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
    this.ended = endOf(this.#child);
    this.#letNodeEnd();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Keeps Node alive until the process has ended. */
  ref(): void {
    this.#child.ref();
  }

  /** Ends the process, whatever state it is in. The system gives its number to no other process while it is our child. */
  async kill(): Promise<void> {
    this.ref();
    this.#child.stdin.end();
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  /** An idle engine must not keep Node alive; the channel does while a reply is due. */
  #letNodeEnd(): void {
    this.#child.unref();
    for (const stream of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) {
      (stream as { unref?: () => void }).unref?.();
    }
  }
}

/** A descendant that inherited the output would keep it open: the end of the process itself counts. */
async function endOf(child: ReturnType<typeof spawn>): Promise<string> {
  const exit = new Promise<{ exitCode: number | undefined; signal: string | undefined }>((resolve) => {
    child.once("exit", (exitCode, signal) =>
      setTimeout(resolve, OUTPUT_GRACE_MS, { exitCode: exitCode ?? undefined, signal: signal ?? undefined }),
    );
  });
  const { exitCode, signal, originalMessage } = {
    originalMessage: "",
    ...(await Promise.race([child, exit])),
  };
  if (signal !== undefined) return `it was ended by ${signal}`;
  if (exitCode !== undefined) return `it ended with exit code ${exitCode}`;
  return `it could not be started: ${originalMessage}`;
}

function spawn(options: WorkerProcessOptions) {
  const { python, source, directory, endpoint, extraArguments, module, threadOptions } = options;
  return execa(python, [...runsModule(module, directory), "--connect", endpoint, ...extraArguments], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    // The worker ends when its stdin does, and removes what this process could not; a signal would leave it no time.
    cleanup: false,
    buffer: false, // a chatty worker would be killed at maxBuffer
    reject: false,
    env: { ...isolatedVariables(source), ...threadVariables(threadOptions) },
    extendEnv: false,
    windowsHide: true,
  });
}
