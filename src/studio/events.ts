import type { ClientCard, ClientModel } from "../server/client-card.ts";
import type { StartEvent, StepEvent } from "../server/generation-events.ts";

export type { ClientCard, ClientModel, StartEvent, StepEvent };

/** Bytes of a picture as the server sends them. */
export interface PictureData {
  readonly format: "png" | "jpeg" | "webp";
  readonly width: number;
  readonly height: number;
  readonly b64_json: string;
}

/** What the server says is wrong. */
export interface Failure {
  readonly message: string;
  readonly code: string;
  readonly param?: string | null;
}

/** zipar's own events, as docs/server.md has them, and two that the page adds: it was cancelled, or nothing comes any more. */
export type StudioEvent =
  | StartEvent
  | StepEvent
  | ({ readonly type: "partial-image"; readonly forward: number } & PictureData)
  | { readonly type: "worker-lost"; readonly code: string }
  | { readonly type: "worker-restored"; readonly rebuildForwards: number }
  | ({
      readonly type: "image";
      readonly seed: number;
      readonly stats: {
        readonly forwards: number;
        readonly nextTokenForwards: number;
        readonly wallMs: number;
      };
    } & PictureData)
  | { readonly type: "error"; readonly error: Failure }
  | { readonly type: "cancelled" }
  | { readonly type: "cut-off" };
