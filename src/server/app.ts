import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import { secureHeaders } from "hono/secure-headers";
import { ZiparError } from "../errors.ts";
import { accessLog } from "./access-log.ts";
import { errorResponse, reportError } from "./api-error.ts";
import { boundedReply } from "./bounded-body.ts";
import { describeForClients } from "./client-card.ts";
import type { ServerContext } from "./context.ts";
import { hostGuard, keyGuard, originGuard } from "./guards.ts";
import { MIME_TYPES } from "./image-data.ts";
import { postGeneration, postImages } from "./images-route.ts";
import { describeModel } from "./models-route.ts";
import { replayRoute } from "./replay-route.ts";
import { addStudio, isStudioPath, STUDIO_POLICY } from "./studio-route.ts";

const SHOWN_CHARACTERS = 200;

export type ServerState = "loading" | "ready" | "stopping";

/** The routes of a server. */
export function createApp(context: ServerContext, stateOf: () => ServerState): Hono {
  const { options, pool, store, metrics } = context;
  const created = Math.floor(Date.now() / 1000);
  const app = new Hono();

  app.use(requestId(), accessLog(context));
  const headers = (
    crossOriginResourcePolicy: "same-origin" | "cross-origin",
    contentSecurityPolicy: Readonly<Record<string, string[]>>,
  ) =>
    secureHeaders({
      contentSecurityPolicy,
      crossOriginResourcePolicy,
      strictTransportSecurity: false, // whether it is reached by TLS is for what stands before it to say
    });
  const nothing = { defaultSrc: ["'none'"], frameAncestors: ["'none'"] };
  const [ofPictures, ofOthers] = [headers("cross-origin", nothing), headers("same-origin", nothing)];
  const ofStudio = headers("same-origin", STUDIO_POLICY);
  app.use((c, next) => {
    if (c.req.path.startsWith("/images/")) return ofPictures(c, next);
    return options.studio && isStudioPath(c.req.path) ? ofStudio(c, next) : ofOthers(c, next);
  });
  app.use(hostGuard(options), originGuard(options));
  if (options.corsOrigins.length > 0)
    app.use(
      cors({ origin: [...options.corsOrigins], exposeHeaders: ["x-request-id", "retry-after"], maxAge: 600 }),
    );
  for (const path of ["/v1/*", "/zipar/*", "/metrics"]) app.use(path, keyGuard(options));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => {
        const message = `${c.req.method} is not for ${shortPath(c.req.path)}; expected ${methods.join(" or ")}`;
        const error = {
          status: 405,
          type: "invalid_request_error",
          code: "method_not_allowed",
          message,
        } as const;
        return errorResponse(error, { allow: methods.join(", ") });
      },
    }),
  );

  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const models = pool.statuses.map(({ name, state, progress }) => ({ name, state, ...progress }));
    const status = stateOf();
    return c.json({ status, models }, status === "ready" ? 200 : 503);
  });
  app.get("/metrics", async (c) =>
    c.text(await metrics.text(), 200, { "content-type": metrics.contentType }),
  );
  app.get("/v1/models", (c) =>
    c.json({ object: "list", data: pool.statuses.map((status) => describeModel(status, created)) }),
  );
  app.get("/v1/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    const status = pool.statuses.find(({ name }) => name === id);
    if (status !== undefined) return c.json(describeModel(status, created));
    const message = `there is no model ${JSON.stringify(id)} here; expected one of ${pool.names.join(", ")}`;
    throw new ZiparError({ code: "model-not-found", message, details: { param: "model" } });
  });
  app.get("/zipar/models", (c) => c.json({ models: pool.statuses.map(describeForClients) }));
  const whileRunning = (post: typeof postImages) => (c: Context) => {
    if (stateOf() !== "stopping") return post(context, c);
    throw new ZiparError({
      code: "engine-closed",
      message: "the server is stopping",
      details: { status: 503 },
    });
  };
  app.post("/v1/images/generations", whileRunning(postImages));
  app.post("/zipar/generations", whileRunning(postGeneration));
  app.post("/zipar/replays", whileRunning(replayRoute()));
  app.get("/images/:name", (c) => {
    const image = store.get(c.req.param("name"));
    if (image === undefined) return notFound("there is no such picture, or not any more");
    return boundedReply(image.data, options.deliveryTimeoutMs, {
      "content-type": MIME_TYPES[image.format],
      "cache-control": "private, max-age=3600",
    });
  });

  if (options.studio) addStudio(app);

  app.notFound((c) => notFound(`there is no ${shortPath(c.req.path)} here; docs/server.md lists the routes`));
  app.onError((error) => errorResponse(reportError(error, options.logger)));
  return app;
}

function notFound(message: string): Response {
  return errorResponse({ status: 404, type: "invalid_request_error", code: "not_found", message });
}

function shortPath(path: string): string {
  return JSON.stringify(path.slice(0, SHOWN_CHARACTERS));
}
