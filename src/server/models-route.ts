import type { ModelStatus } from "./engine-pool.ts";

/** Up to so many sizes of a model are listed. */
const LISTED_SIZES = 64;

/** A model of `GET /v1/models`. What OpenAI's clients do not know tells image models from chat models. */
export function describeModel({ name, state, engine }: ModelStatus, created: number) {
  return {
    id: name,
    object: "model",
    created,
    owned_by: "zipar",
    modalities: { input: ["text"], output: ["image"] },
    zipar: { state, ...(engine === undefined ? {} : describeCard(engine.card)) },
  };
}

function describeCard({ family, grids, conditioning }: NonNullable<ModelStatus["engine"]>["card"]) {
  const sizes = grids.slice(0, LISTED_SIZES).map(({ width, height }) => `${width}x${height}`);
  return {
    family,
    sizes,
    ...(conditioning.type === "class" ? { classes: conditioning.classNames ?? conditioning.classCount } : {}),
  };
}
