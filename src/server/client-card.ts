import { withoutFolders } from "../picture/part.ts";
import type { ModelCard } from "../protocol/messages.ts";
import type { ModelStatus } from "./engine-pool.ts";

/** A model of `GET /zipar/models`, for pages and programs that offer its options. Nothing in it tells where files lie. */
export interface ClientModel {
  /** What requests give as `model`. */
  readonly name: string;
  readonly state: ModelStatus["state"];
  /** Where a load is. */
  readonly progress: { readonly completed: number; readonly total: number | null } | null;
  /** null until it is loaded. */
  readonly card: ClientCard | null;
}

export interface ClientCard {
  readonly family: string;
  readonly name: string;
  readonly device: string;
  readonly dtype: string;
  readonly conditioning: ModelCard["conditioning"];
  /** The default first; `width` and `height` in pixels. */
  readonly sizes: ModelCard["grids"];
  readonly rowEnd: ModelCard["rowEnd"];
  readonly codeCount: number;
  /** Whether `guidance_scale` may be other than 1. */
  readonly hasGuidance: boolean;
  /** false: tokens alone, which this server has no reply for. */
  readonly hasPictures: boolean;
  readonly defaults: ModelCard["defaults"] & { readonly lookahead: "auto" };
}

export function describeForClients({ name, state, progress, engine }: ModelStatus): ClientModel {
  return {
    name,
    state,
    progress: progress === undefined ? null : { completed: progress.completed, total: progress.total },
    card: engine === undefined ? null : clientCard(engine),
  };
}

function clientCard({ card, device, dtype }: NonNullable<ModelStatus["engine"]>): ClientCard {
  const { family, name, conditioning, grids, rowEnd, codeCount, branches, imageDecoder, defaults } = card;
  return {
    family,
    name: withoutFolders(name),
    device,
    dtype,
    conditioning,
    sizes: grids,
    rowEnd,
    codeCount,
    hasGuidance: branches.length > 1,
    hasPictures: imageDecoder !== null,
    defaults: { ...defaults, lookahead: "auto" },
  };
}
