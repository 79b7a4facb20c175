/**
 * What `@ai-sdk/provider` 4 asks of an image model, in as much as zipar has part in it. Written down here, so that neither
 * zipar's types nor its tests need a package that only some of its users have; `test/clients` holds it against the real one.
 */
export interface ImageModelV4 {
  readonly specificationVersion: "v4";
  /** For logs. */
  readonly provider: string;
  readonly modelId: string;
  readonly maxImagesPerCall: number;
  readonly supportsFileInputs: false;
  readonly supportsMaskInputs: false;
  doGenerate(options: ImageModelV4CallOptions): Promise<ImageModelV4Result>;
}

export interface ImageModelV4CallOptions {
  readonly prompt: string | undefined;
  readonly n: number;
  readonly size: `${number}x${number}` | undefined;
  readonly aspectRatio: `${number}:${number}` | undefined;
  readonly seed: number | undefined;
  readonly files?: readonly unknown[] | undefined;
  readonly mask?: unknown;
  /** By the provider's name. */
  readonly providerOptions: Readonly<Record<string, unknown>>;
  readonly abortSignal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined;
}

export interface ImageModelV4Result {
  /** Encoded pictures: bytes, or base64. */
  readonly images: string[] | Uint8Array[];
  readonly warnings: Warning[];
  readonly providerMetadata: { readonly zipar: { readonly images: ImageMetadata[] } };
  readonly response: {
    readonly timestamp: Date;
    readonly modelId: string;
    readonly headers: Record<string, string> | undefined;
  };
  readonly usage: {
    readonly inputTokens: number;
    readonly outputTokens: number;
    readonly totalTokens: number;
  };
}

/** An input that has no effect. */
export interface Warning {
  readonly type: "unsupported";
  readonly feature: string;
  readonly details: string;
}

/** How an image was made, and what it took. A type: an interface is no JSON to the AI SDK. */
export type ImageMetadata = {
  seed: number;
  size: `${number}x${number}`;
  /** As an option of `generate`. */
  // biome-ignore lint/suspicious/noExplicitAny: JSON, which the AI SDK has a type of its own for
  window: any;
  forwards: number;
  nextTokenForwards: number;
  wallMs: number;
};
