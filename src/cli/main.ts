#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { describeFailure, exitCodeOf } from "./failure.ts";
import { createProgram } from "./program.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

try {
  await createProgram(version).parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // commander has printed its own errors already
  if (!(error instanceof Error && error.name === "CommanderError")) {
    process.stderr.write(`${describeFailure(error, process.argv.includes("--verbose"))}\n`);
  }
}
