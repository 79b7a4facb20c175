import type { ClientCard, ClientModel } from "./events.ts";

export const WINDOW_KINDS = ["model", "full", "guessed", "adaptive", "fixed"] as const;
export type WindowKind = (typeof WINDOW_KINDS)[number];

/** What the form says, as its fields hold it: texts, which are empty where nothing is said. */
export interface Wish {
  readonly model: string;
  /** Text; for class-conditional models the name of a class or its number. */
  readonly prompt: string;
  readonly negativePrompt: string;
  /** `WIDTHxHEIGHT`. */
  readonly size: string;
  readonly window: WindowKind;
  readonly windowSize: string;
  readonly lookahead: string;
  readonly guidanceScale: string;
  readonly temperature: string;
  readonly topK: string;
  readonly topP: string;
  readonly seed: string;
  readonly count: string;
}

export type Field = keyof Wish;

/** A field that cannot be sent as it is. */
export interface Problem {
  readonly field: Field;
  readonly message: string;
}

/** The body of one picture. */
export type RequestBody = Readonly<Record<string, unknown>>;

export const MAX_COUNT = 4;
/** The server's limit; several pictures take seeds that follow each other. */
const MAX_SEED = Number.MAX_SAFE_INTEGER;
/** Previews on the way of a picture: each costs the server a decoding of pixels. */
const PREVIEW_COUNT = 12;

/** What a model is asked for when nothing is chosen: its card's defaults. */
export function defaultWish({ name, card }: ClientModel): Wish {
  const { defaults } = card ?? {};
  const [size] = card?.sizes ?? [];
  const text = (value: number | undefined) => (value === undefined ? "" : String(value));
  return {
    model: name,
    prompt: "",
    negativePrompt: card?.conditioning.type === "text" ? (card.conditioning.negativePrompt ?? "") : "",
    size: size === undefined ? "" : `${size.width}x${size.height}`,
    window: "model",
    windowSize: "",
    lookahead: "",
    guidanceScale: text(defaults?.guidanceScale),
    temperature: text(defaults?.temperature),
    topK: text(defaults?.topK),
    topP: text(defaults?.topP),
    seed: "",
    count: "1",
  };
}

/** The first field that is wrong: what the card can tell of it, the server tells the rest. */
export function problemOf(wish: Wish, card: ClientCard | null): Problem | undefined {
  const isClass = card?.conditioning.type === "class";
  const columns = columnsOf(wish, card);
  const checks: readonly (false | Problem | undefined)[] = [
    wish.prompt.trim() === "" && {
      field: "prompt",
      message: isClass ? "Choose a class." : "Say what the picture shows.",
    },
    wish.windowSize !== "" &&
      hasWindowSize(wish.window) &&
      whole(wish, "windowSize", "The window", 1, columns ?? 1024),
    wish.window === "fixed" &&
      wish.windowSize === "" && {
        field: "windowSize",
        message: `Give the tokens of the window, 1 to ${columns ?? "a row's"}.`,
      },
    wish.lookahead !== "" && whole(wish, "lookahead", "Lookahead", 0, 1024),
    wish.guidanceScale !== "" && decimal(wish, "guidanceScale", "Guidance", -1000, 1000),
    wish.temperature !== "" && decimal(wish, "temperature", "Temperature", 0, 1000),
    wish.topK !== "" && whole(wish, "topK", "Top k", 0, 2 ** 24),
    wish.topP !== "" && decimal(wish, "topP", "Top p", 0.001, 1),
    wish.seed !== "" && whole(wish, "seed", "The seed", 0, MAX_SEED - MAX_COUNT),
    whole(wish, "count", "The count", 1, MAX_COUNT),
  ];
  return checks.find((check): check is Problem => check !== undefined && check !== false);
}

/** The bodies of its pictures, with seeds that follow each other. Only what the card knows is said. */
export function bodiesOf(
  wish: Wish,
  card: ClientCard | null,
  randomSeed: () => number,
): readonly RequestBody[] {
  const seed = wish.seed === "" ? randomSeed() : Number(wish.seed);
  const isText = card?.conditioning.type === "text";
  const takesNegative = card?.conditioning.type === "text" && card.conditioning.negativePrompt !== null;
  const number = (text: string) => (text === "" ? undefined : Number(text));
  const body = {
    model: wish.model,
    prompt: isText ? wish.prompt : wish.prompt.trim(),
    negative_prompt: takesNegative && wish.negativePrompt !== "" ? wish.negativePrompt : undefined,
    size: wish.size === "" ? undefined : wish.size,
    window: windowOption(wish),
    lookahead: number(wish.lookahead),
    guidance_scale: card?.hasGuidance === false ? undefined : number(wish.guidanceScale),
    temperature: number(wish.temperature),
    top_k: number(wish.topK),
    top_p: number(wish.topP),
    partial_images: PREVIEW_COUNT,
    metadata: true,
  };
  return Array.from({ length: Number(wish.count) }, (_, k) => ({
    ...withoutUndefined(body),
    seed: seed + k,
  }));
}

/** The same prompt with another seed or window, for one that is compared. */
export function comparedWith(body: RequestBody, choice: string, randomSeed: () => number): RequestBody {
  if (choice === "seed") return { ...body, seed: randomSeed() };
  const { window: _, ...rest } = body;
  if (choice === "model") return rest;
  return { ...rest, window: /^\d+$/.test(choice) ? Number(choice) : choice };
}

/** What a body asked for, as the form would say it. */
export function wishOf(body: RequestBody, model: ClientModel): Wish {
  const text = (value: unknown) => (value === undefined ? "" : String(value));
  const fallback = defaultWish(model);
  const [window, windowSize] = windowFields(body["window"]);
  return {
    ...fallback,
    prompt: text(body["prompt"]),
    negativePrompt:
      body["negative_prompt"] === undefined ? fallback.negativePrompt : text(body["negative_prompt"]),
    size: text(body["size"] ?? fallback.size),
    window,
    windowSize,
    lookahead: text(body["lookahead"]),
    guidanceScale: text(body["guidance_scale"] ?? fallback.guidanceScale),
    temperature: text(body["temperature"] ?? fallback.temperature),
    topK: text(body["top_k"] ?? fallback.topK),
    topP: text(body["top_p"] ?? fallback.topP),
    seed: text(body["seed"]),
  };
}

export function hasWindowSize(kind: WindowKind): boolean {
  return kind !== "model" && kind !== "full";
}

/** Tokens in a row of the size that is chosen. */
export function columnsOf({ size }: Pick<Wish, "size">, card: ClientCard | null): number | undefined {
  return card?.sizes.find(({ width, height }) => `${width}x${height}` === size)?.columns;
}

function windowOption({ window, windowSize }: Wish): unknown {
  const size = windowSize === "" ? undefined : Number(windowSize);
  switch (window) {
    case "model":
      return undefined;
    case "full":
      return "full";
    case "fixed":
      return size;
    case "guessed":
      return size === undefined ? "guessed" : { kind: "guessed", size };
    case "adaptive":
      return size === undefined ? "adaptive" : { kind: "adaptive", min: size };
  }
}

function windowFields(window: unknown): readonly [WindowKind, string] {
  if (typeof window === "number") return ["fixed", String(window)];
  if (typeof window === "string") return [window as WindowKind, ""];
  if (typeof window !== "object" || window === null) return ["model", ""];
  const { kind, size, min } = window as { kind: WindowKind; size?: number; min?: number };
  return [kind, String(size ?? min ?? "")];
}

function whole(wish: Wish, field: Field, name: string, from: number, to: number): Problem | undefined {
  const text = wish[field].trim();
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= from && value <= to) return undefined;
  return { field, message: `${name} is a whole number from ${from} to ${to}, not “${wish[field]}”.` };
}

function decimal(wish: Wish, field: Field, name: string, from: number, to: number): Problem | undefined {
  const value = Number(wish[field]);
  if (Number.isFinite(value) && wish[field].trim() !== "" && value >= from && value <= to) return undefined;
  return { field, message: `${name} is a number from ${from} to ${to}, not “${wish[field]}”.` };
}

function withoutUndefined(body: Readonly<Record<string, unknown>>): RequestBody {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}
