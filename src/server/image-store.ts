import { randomBytes } from "node:crypto";
import type { ImageFormat } from "../picture/encode.ts";

export interface StoredImage {
  readonly format: ImageFormat;
  readonly data: Buffer;
}

/** Pictures that wait to be fetched by their URL: so many bytes for so long, the oldest go first. */
export class ImageStore {
  readonly #limits: { readonly maxBytes: number; readonly lifetimeMs: number };
  /** By name, the oldest first. */
  readonly #images = new Map<string, StoredImage & { readonly expiresAt: number }>();
  #byteCount = 0;

  constructor(limits: { readonly maxBytes: number; readonly lifetimeMs: number }) {
    this.#limits = limits;
  }

  get byteCount(): number {
    return this.#byteCount;
  }

  /** Its name, which cannot be guessed: whoever knows it may fetch the picture. */
  add(image: StoredImage, now = performance.now()): string {
    this.#dropExpired(now);
    const name = `${randomBytes(18).toString("base64url")}.${image.format}`;
    this.#images.set(name, { ...image, expiresAt: now + this.#limits.lifetimeMs });
    this.#byteCount += image.data.byteLength;
    for (const oldest of this.#images.keys()) {
      if (this.#byteCount <= this.#limits.maxBytes) break;
      this.#drop(oldest);
    }
    return name;
  }

  get(name: string, now = performance.now()): StoredImage | undefined {
    this.#dropExpired(now);
    return this.#images.get(name);
  }

  #dropExpired(now: number): void {
    for (const [name, { expiresAt }] of this.#images) {
      if (expiresAt > now) break;
      this.#drop(name);
    }
  }

  #drop(name: string): void {
    this.#byteCount -= this.#images.get(name)?.data.byteLength ?? 0;
    this.#images.delete(name);
  }
}
