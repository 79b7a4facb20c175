import type { MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { ServerContext } from "./context.ts";

/** A line of JSON for each request, without prompts and keys; a stream is logged when it begins. */
export function accessLog({ options: { logger }, metrics }: ServerContext): MiddlewareHandler {
  return async (c, next) => {
    const startedAt = performance.now();
    await next();
    const route = routePath(c, -1); // of a path that nobody knows: the pattern that all match
    const { status, headers } = c.res;
    headers.set("x-request-id", c.get("requestId"));
    metrics.countRequest(route, status);
    const ms = Math.round(performance.now() - startedAt);
    logger.info(
      JSON.stringify({ event: "request", id: c.get("requestId"), method: c.req.method, route, status, ms }),
    );
  };
}
