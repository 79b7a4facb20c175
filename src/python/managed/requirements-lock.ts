import { createHash } from "node:crypto";

/** One pinned package of a lock: its name and the lines that pin it, hashes included. */
export interface LockedPackage {
  readonly name: string;
  readonly text: string;
}

export function hashLock(text: string): string {
  return createHash("sha256").update(text.replaceAll("\r\n", "\n")).digest("hex");
}

/** Splits a requirements file into its packages; an indented line belongs to the package above it. */
export function parseLock(text: string): readonly LockedPackage[] {
  const blocks: string[][] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const current = blocks.at(-1);
    if (/^\s/.test(line) && current) current.push(line);
    else blocks.push([line]);
  }
  return blocks.map((lines) => ({
    name: /^[A-Za-z0-9._-]+/.exec(lines[0] ?? "")?.[0] ?? "",
    text: lines.join("\n"),
  }));
}

/** The pin that a lock holds for a package, e.g. `torch==2.13.0`. */
export function pinOf(packages: readonly LockedPackage[], name: string): string {
  const locked = packages.find((candidate) => candidate.name === name);
  const pin = /^[^\s;\\]+/.exec(locked?.text ?? "")?.[0];
  if (!pin) throw new Error(`the lock has no package ${name}`);
  return pin;
}

/**
 * A lock without PyTorch and what only its CUDA build brings along. Another build of PyTorch
 * (`UV_TORCH_BACKEND`) has other hashes and brings other libraries, so it is installed apart.
 */
export function withoutTorch(packages: readonly LockedPackage[]): string {
  const rest = packages.filter(({ name }) => !/^(torch|triton|nvidia-.*|cuda-.*)$/.test(name));
  return `${rest.map(({ text }) => text).join("\n")}\n`;
}
