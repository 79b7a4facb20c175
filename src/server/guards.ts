import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import type { MiddlewareHandler } from "hono";
import { type ApiError, errorResponse } from "./api-error.ts";
import type { ResolvedServerOptions } from "./options.ts";

/**
 * Refuses names that are not the server's: a page whose own name was made to point at this address (DNS rebinding) sends
 * that name. Pages cannot do so with an IP address or with localhost.
 */
export function hostGuard({ allowedHosts, publicUrl }: ResolvedServerOptions): MiddlewareHandler {
  if (allowedHosts === "any") return (_, next) => next();
  const names = new Set(allowedHosts.map((name) => name.toLowerCase()));
  if (publicUrl !== undefined) names.add(new URL(publicUrl).hostname);
  return async (c, next) => {
    const host = c.req.header("host") ?? new URL(c.req.url).host;
    const name = hostName(host);
    if (name !== undefined && (isLocal(name) || names.has(name))) return next();
    const message = `the Host header is ${JSON.stringify(host)}, which is no name of this server; start it with --allowed-host for that name, if it is`;
    return errorResponse({ ...REFUSED, status: 421, code: "unknown_host", message });
  };
}

/** Refuses pages of origins that were not named, whether or not they could read the reply. */
export function originGuard({ corsOrigins }: ResolvedServerOptions): MiddlewareHandler {
  return async (c, next) => {
    const origin = c.req.header("origin");
    const own = c.req.header("host") ?? new URL(c.req.url).host;
    if (origin === undefined || corsOrigins.includes(origin)) return next();
    if (URL.canParse(origin) && new URL(origin).host === own) return next();
    const message = `pages of ${JSON.stringify(origin)} may not use this server; start it with --cors-origin for that origin, if they shall`;
    return errorResponse({ ...REFUSED, status: 403, code: "unknown_origin", message });
  };
}

/** Asks for a key where there is one. It is compared by its hash, in constant time and with every key. */
export function keyGuard({ apiKeys }: ResolvedServerOptions): MiddlewareHandler {
  const hashes = apiKeys.map(hashOf);
  return async (c, next) => {
    if (hashes.length === 0) return next();
    const [, key] = /^Bearer +(.*)$/i.exec(c.req.header("authorization") ?? "") ?? [];
    const given = hashOf(key ?? "");
    const isKnown = hashes.reduce((found, hash) => timingSafeEqual(hash, given) || found, false);
    if (key !== undefined && isKnown) return next();
    const message = `${key === undefined ? "no API key was given" : "the API key is wrong"}; expected \`Authorization: Bearer KEY\` with a key of this server`;
    const error: ApiError = { status: 401, type: "authentication_error", code: "invalid_api_key", message };
    return errorResponse(error, { "www-authenticate": "Bearer" });
  };
}

const REFUSED = { type: "invalid_request_error" } as const;

/** Without its port. */
function hostName(host: string): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?$/i.exec(host)?.[1]?.toLowerCase();
}

function isLocal(name: string): boolean {
  return name === "localhost" || name.endsWith(".localhost") || isIP(name.replace(/^\[(.*)\]$/, "$1")) !== 0;
}

function hashOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
