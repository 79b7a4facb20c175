import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ZiparError } from "../errors.ts";
import type { Source } from "../protocol/messages.ts";
import { packageRoot } from "../python/location.ts";
import { ownPath } from "../system/own-files.ts";

/** `owner/name`, then perhaps a path within the repository, then perhaps `@` and a branch, tag or commit. */
const HUB_REFERENCE = /^([\w.-]+\/[\w.-]+)(?:\/([^@\\:]+))?(?:@(.+))?$/;
const WEIGHTS_FILE = /\.(pt|pth|bin|ckpt|safetensors)$/i;

/**
 * Where a checkpoint is: `demo`, an existing path, or else a hub id such as `owner/name`, `owner/name/file.pt` or
 * `owner/name@revision`. Whatever exists on this machine wins.
 * @throws ZiparError `model-not-found`
 */
export function resolveModelReference(reference: string): Source {
  if (reference === "demo") return { type: "path", path: ownPath(packageRoot, "checkpoints", "demo") };
  return resolveReference(
    reference,
    "checkpoint",
    '"demo", a checkpoint directory, a weights file, or a hub id such as BAAI/Emu3-Gen',
  );
}

/** The same for a part of a checkpoint that lies elsewhere; `what` names it in messages. */
export function resolvePartReference(reference: string, what: string): Source {
  return resolveReference(
    reference,
    what,
    "a directory, a file, or a hub id such as BAAI/Emu3-VisionTokenizer",
  );
}

/** Whether a reference is a hub id where no file of this machine has that name. */
export function isHubReference(reference: string): boolean {
  return hubSource(reference) !== undefined;
}

/** About another machine, where only the worker can look: a hub id, or else a path as it was given. */
export function resolveRemoteReference(reference: string): Source {
  return hubSource(reference) ?? { type: "path", path: reference };
}

function resolveReference(reference: string, what: string, expected: string): Source {
  const path = resolve(reference);
  if (existsSync(path)) return { type: "path", path };
  const hub = hubSource(reference);
  if (hub !== undefined) return hub;
  throw new ZiparError({
    code: "model-not-found",
    message: `there is no ${what} at ${path}; expected ${expected}`,
  });
}

/** Undefined for whatever is meant as a path. */
function hubSource(reference: string): Source | undefined {
  const [, repository, path, revision] = HUB_REFERENCE.exec(reference) ?? [];
  if (repository === undefined) return undefined;
  const segments = `${repository}${path === undefined ? "" : `/${path}`}`.split("/");
  const isPath = segments.some((segment) => /^\.*$/.test(segment)) || /^[.~-]/.test(reference);
  // A file of a repository has its owner and its name before it; `models/c2i_B_256.pt` can only be a path.
  if (isPath || (path === undefined && WEIGHTS_FILE.test(repository))) return undefined;
  return { type: "hub", repository, path: path ?? null, revision: revision ?? null };
}
