import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { packageRoot } from "../python/location.ts";
import { ownPath } from "../system/own-files.ts";

/** A file of the studio, by the path under which the server hands it out. */
export interface StudioFile {
  readonly contentType: string;
  readonly etag: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Modules of the package that pages import as well: they import nothing that has a part in Node. */
const SHARED_MODULES = ["schedule/grid.js", "server/generation-events.js"];

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".js": "text/javascript; charset=utf-8",
};

/**
 * All files of the studio: the page itself is `/`. Paths are looked up, never joined with what a request says.
 * @throws ZiparError where zipar was bundled and they are not beside it
 */
export function readStudioFiles(root: string = packageRoot): ReadonlyMap<string, StudioFile> {
  const assets = ownPath(root, "studio");
  const build = ownPath(root, "dist");
  const modules = readdirSync(join(build, "studio"), { recursive: true })
    .map((name) => join("studio", String(name)).replaceAll("\\", "/"))
    .filter((name) => name.endsWith(".js"));
  const paths: (readonly [path: string, file: string])[] = [
    ...readdirSync(assets)
      .filter((name) => extname(name) in CONTENT_TYPES)
      .map((name) => [name === "index.html" ? "/" : `/studio/${name}`, join(assets, name)] as const),
    ...[...modules, ...SHARED_MODULES].map((name) => [`/studio/modules/${name}`, join(build, name)] as const),
  ];
  return new Map(paths.map(([path, file]) => [path, studioFile(file)]));
}

function studioFile(file: string): StudioFile {
  const data = new Uint8Array(readFileSync(file));
  const hash = createHash("sha256").update(data).digest("base64url").slice(0, 22);
  return { contentType: CONTENT_TYPES[extname(file)] as string, etag: `"${hash}"`, data };
}
