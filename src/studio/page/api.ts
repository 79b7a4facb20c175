import { eventParser } from "../event-parser.ts";
import type { ClientModel, Failure, StudioEvent } from "../events.ts";
import type { RequestBody } from "../wish.ts";
import { askForKey, knownKey } from "./key-dialog.ts";

const UNREACHABLE: Failure = {
  code: "unreachable",
  message: "The server cannot be reached. Is it still running?",
};

/** @throws TypeError where the server cannot be reached, Error with its words where it refuses */
export async function fetchModels(): Promise<readonly ClientModel[]> {
  const response = await request("zipar/models");
  if (!response.ok) throw new Error((await failureOf(response)).message);
  return ((await response.json()) as { models: readonly ClientModel[] }).models;
}

/** Makes one picture; every way in which that ends is an event. Hanging up by `signal` cancels it. */
export async function makePicture(
  body: RequestBody,
  signal: AbortSignal,
  onEvent: (event: StudioEvent) => void,
): Promise<void> {
  let hasBegun = false;
  try {
    const response = await request("zipar/generations", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.ok || response.body === null) {
      onEvent({ type: "error", error: await failureOf(response) });
      return;
    }
    hasBegun = true;
    const parse = eventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read())
      for (const event of parse(piece.value)) onEvent(event as StudioEvent);
    onEvent({ type: "cut-off" }); // no more than a word where the picture has come
  } catch (error) {
    if (signal.aborted) onEvent({ type: "cancelled" });
    else if (hasBegun) onEvent({ type: "cut-off" });
    else if (error instanceof TypeError) onEvent({ type: "error", error: UNREACHABLE });
    else throw error;
  }
}

/** Asks for a key as long as the server wants another one. */
async function request(path: string, init: RequestInit = {}): Promise<Response> {
  for (let key = knownKey(); ; ) {
    const headers = new Headers(init.headers);
    if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
    const response = await fetch(new URL(path, document.baseURI), { ...init, headers });
    if (response.status !== 401) return response;
    key = await askForKey(key);
  }
}

async function failureOf(response: Response): Promise<Failure> {
  try {
    return ((await response.json()) as { error: Failure }).error;
  } catch {
    return { code: String(response.status), message: `The server answered with status ${response.status}.` };
  }
}
