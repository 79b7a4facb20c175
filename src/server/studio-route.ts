import type { Context, Hono } from "hono";
import { readStudioFiles, type StudioFile } from "./studio-files.ts";

/** What the page may do: run and show what comes from this server, and talk to it. No inline scripts or styles. */
export const STUDIO_POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'", "blob:"],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
  requireTrustedTypesFor: ["'script'"],
};

export function isStudioPath(path: string): boolean {
  return path === "/" || path.startsWith("/studio/");
}

/** The studio's page at `/` and what it loads from `/studio/`. They ask for no key: they hold nothing of this server. */
export function addStudio(app: Hono): void {
  let files: ReadonlyMap<string, StudioFile> | undefined;
  const get = (c: Context) => {
    files ??= readStudioFiles();
    const file = files.get(c.req.path);
    if (file === undefined) return c.notFound();
    const headers = { etag: file.etag, "cache-control": "no-cache" };
    if (holds(c.req.header("if-none-match"), file.etag)) return new Response(null, { status: 304, headers });
    return new Response(file.data, { headers: { ...headers, "content-type": file.contentType } });
  };
  app.get("/", get);
  app.get("/studio/*", get);
}

function holds(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = (ifNoneMatch ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}
