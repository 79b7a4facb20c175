#!/usr/bin/env node
import { VERSION } from "../version.ts";
import { describeFailure, exitCodeOf } from "./failure.ts";
import { interruptExitCode, watchInterrupts } from "./interrupt.ts";
import { createProgram } from "./program.ts";
import { watchStreams } from "./watch-streams.ts";

watchStreams();
watchInterrupts();
process.on("uncaughtException", (error) => {
  tellFailure(error);
  process.exit();
});
try {
  await createProgram(VERSION).parseAsync();
} catch (error) {
  tellFailure(error);
}

function tellFailure(error: unknown): void {
  process.exitCode = interruptExitCode() ?? exitCodeOf(error);
  // commander has printed its own errors already
  if (!(error instanceof Error && error.name === "CommanderError")) {
    process.stderr.write(`${describeFailure(error, process.argv.includes("--verbose"))}\n`);
  }
}
