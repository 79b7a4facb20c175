import { type Browser, chromium } from "playwright-core";
import { findCommand, thisMachine } from "../../src/python/location.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The browser of this machine: `ZIPAR_CHROMIUM`, or what Linux distributions call it. undefined where there is none. */
export function findBrowser(): string | undefined {
  const chosen = process.env.ZIPAR_CHROMIUM;
  return [chosen === undefined ? [] : [chosen], NAMES]
    .flat()
    .flatMap((name) => findCommand(name, thisMachine()) ?? [])[0];
}

export function startBrowser(executablePath: string): Promise<Browser> {
  const isRoot = process.getuid?.() === 0; // for whom Chromium has no sandbox
  return chromium.launch({ executablePath, args: isRoot ? ["--no-sandbox"] : [] });
}
