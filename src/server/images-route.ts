import type { Context } from "hono";
import type { GenerationResult } from "../api/generation.ts";
import { reportImage } from "../api/image-report.ts";
import { ZiparError } from "../errors.ts";
import { boundedReply } from "./bounded-body.ts";
import type { ServerContext } from "./context.ts";
import { ownStream } from "./generation-stream.ts";
import { encodeImage } from "./image-data.ts";
import { KNOBS, OWN_KNOBS } from "./image-fields.ts";
import { type ImageRequest, parseImageRequest, type RequestLimits } from "./image-request.ts";
import { type ImageRun, openRun, startImage } from "./image-run.ts";
import { imageUsage } from "./image-usage.ts";
import { openaiStream } from "./images-stream.ts";
import { readJson } from "./read-json.ts";
import { streamRun } from "./stream-run.ts";

const OPENAI_PARTIAL_IMAGES = 3;
export const OWN_PARTIAL_IMAGES = 64;
/** Sizes that OpenAI's clients know: to some of them another one is no valid reply. */
const OPENAI_SIZES: ReadonlySet<string> = new Set(["1024x1024", "1024x1536", "1536x1024"]);

/** `POST /v1/images/generations`: OpenAI's images API. */
export async function postImages(context: ServerContext, c: Context): Promise<Response> {
  const request = await readRequest(context, c, {
    maxPartialImages: OPENAI_PARTIAL_IMAGES,
    knobNames: KNOBS,
  });
  if (request.stream) {
    checkStream(request);
    return withRun(context, c, request, (run) =>
      streamRun(context, run, request, openaiStream(run, request)),
    );
  }
  return withRun(context, c, { ...request, partialImages: 0 }, async (run) => {
    const reply = await makeImages(context, run, request, c.req.url);
    const headers = { "content-type": "application/json" };
    return boundedReply(
      Buffer.from(JSON.stringify(reply)),
      context.options.deliveryTimeoutMs,
      headers,
      run.end,
    );
  });
}

/** `POST /zipar/generations`: one image with all that happens on its way. */
export async function postGeneration(context: ServerContext, c: Context): Promise<Response> {
  const request = await readRequest(context, c, {
    maxPartialImages: OWN_PARTIAL_IMAGES,
    knobNames: OWN_KNOBS,
  });
  checkStream(request);
  return withRun(context, c, request, (run) => streamRun(context, run, request, ownStream(request)));
}

async function readRequest(
  { options }: ServerContext,
  c: Context,
  limits: Pick<RequestLimits, "maxPartialImages" | "knobNames">,
): Promise<ImageRequest> {
  const { maxBodyBytes, maxPromptCharacters } = options;
  const body = await readJson(c.req.raw, maxBodyBytes);
  return parseImageRequest(body, { maxPromptCharacters, ...limits });
}

/** What `work` makes of a run ends it; its failure does so here. */
async function withRun(
  context: ServerContext,
  c: Context,
  request: ImageRequest,
  work: (run: ImageRun) => Response | Promise<Response>,
): Promise<Response> {
  const run = await openRun(context, request, c.req.raw.signal);
  try {
    return await work(run);
  } catch (error) {
    run.signal.hangUp(); // the other images of the request
    run.end();
    throw error;
  }
}

async function makeImages(context: ServerContext, run: ImageRun, request: ImageRequest, url: string) {
  const created = Math.floor(Date.now() / 1000);
  const numbers = Array.from({ length: request.imageCount }, (_, k) => k);
  const results = await Promise.all(numbers.map((k) => startImage(context, run, request, k)));
  const data = await Promise.all(results.map((result) => describeData(context, result, request, url)));
  const size = `${run.grid.width}x${run.grid.height}`;
  return {
    created,
    data,
    background: "opaque",
    output_format: request.format,
    ...(OPENAI_SIZES.has(size) ? { size } : {}),
    usage: imageUsage(results),
    zipar: { model: run.model, size, images: results.map(reportImage) },
  };
}

async function describeData(
  { store, options }: ServerContext,
  result: GenerationResult,
  { format, compression, metadata, isUrl }: ImageRequest,
  url: string,
) {
  const data = await encodeImage(result.image, { format, compression, metadata });
  if (!isUrl) return { b64_json: data.toString("base64") };
  const base = options.publicUrl?.replace(/\/$/, "") ?? new URL(url).origin;
  return { url: `${base}/images/${store.add({ format, data })}` };
}

/** @throws ZiparError `invalid-options` of what no stream can hold */
function checkStream({ imageCount, isUrl }: ImageRequest): void {
  const problem = imageCount > 1 ? ["n", imageCount] : isUrl ? ["response_format", "url"] : undefined;
  if (problem === undefined) return;
  const [param, value] = problem;
  throw new ZiparError({
    code: "invalid-options",
    message: `\`${param}\` = ${JSON.stringify(value)}: a stream holds one image, as b64_json; ask for others beside it, they are decoded together`,
    details: { param },
  });
}
