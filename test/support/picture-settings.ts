import type { PictureSettings } from "../../src/picture/settings.ts";

/** How a picture of a text model was made; `options` in the place of some of its own. */
export function pictureSettings(options: Partial<PictureSettings["options"]> = {}): PictureSettings {
  return {
    version: 1,
    zipar: "0.1.0",
    model: { reference: "owner/model@main" },
    card: { family: "emu3", name: "Model of the owner" },
    device: "cpu",
    dtype: "float32",
    options: {
      prompt: "a lighthouse",
      negativePrompt: "blurry, low contrast",
      size: { width: 24, height: 16 },
      window: 4,
      lookahead: "auto",
      guidanceScale: 3.5,
      guidanceInterval: [0, 1],
      temperature: 1,
      topK: 2048,
      topP: 1,
      seed: 7,
      surrogate: "two-rows-up",
      refreshRowEnds: false,
      ...options,
    },
    forwards: 92,
    tokens: { rows: 2, columns: 3, bytes: 1, codes: "AAECAwQF" },
  };
}
