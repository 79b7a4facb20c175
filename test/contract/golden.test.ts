import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeReply, encodeMessage } from "../../src/protocol/codec.ts";
import { type Frame, replySchema, requestSchema } from "../../src/protocol/messages.ts";

interface Golden {
  readonly name: string;
  readonly direction: "request" | "reply";
  readonly headerHex: string;
  readonly frames: readonly (Frame & { readonly hex: string })[];
  readonly message: { readonly type: string } & Record<string, unknown>;
}

const directory = join(import.meta.dirname, "../../proto/golden");
const golden = readdirSync(directory).map(
  (file): Golden => JSON.parse(readFileSync(join(directory, file), "utf8")),
);
const replies = golden.filter(({ direction }) => direction === "reply");
const requests = golden.filter(({ direction }) => direction === "request");

test("there is a golden message for every message of the protocol", () => {
  const types = (schema: typeof requestSchema | typeof replySchema) =>
    schema.options.map(({ shape }) => shape.type.value);
  expect(new Set(requests.map(({ message }) => message.type))).toEqual(new Set(types(requestSchema)));
  expect(new Set(replies.map(({ message }) => message.type))).toEqual(new Set(types(replySchema)));
});

describe("a golden reply decodes to the message and the bytes that it stands for", () => {
  test.each(replies)("$name", ({ headerHex, frames, message }) => {
    const parts = [headerHex, ...frames.map(({ hex }) => hex)].map(
      (hex) => new Uint8Array(Buffer.from(hex, "hex")),
    );
    const { reply, arrays } = decodeReply(parts);
    expect(reply).toEqual(message);
    for (const { name, shape, dtype, hex } of frames) {
      const array = arrays.get(name);
      expect(array?.shape).toEqual(shape);
      expect(array?.data.constructor.name.toLowerCase()).toBe(`${dtype}array`);
      expect(hexOf(array?.data as ArrayBufferView)).toBe(hex);
    }
  });
});

const constructors = { int32: Int32Array, float32: Float32Array, float64: Float64Array, uint8: Uint8Array };

describe("a golden request is valid and encodes to the same bytes again", () => {
  test.each(requests)("$name", ({ headerHex, frames, message }) => {
    expect(requestSchema.parse(message)).toEqual(message);
    const { frames: _, ...fields } = message;
    const arrays = frames.map(({ name, dtype, shape, hex }) => {
      const { buffer } = Uint8Array.from(Buffer.from(hex, "hex"));
      return { name, data: new constructors[dtype](buffer), shape };
    });
    const [header, ...encoded] = encodeMessage(fields, arrays).map(hexOf);
    expect(header).toBe(headerHex);
    expect(encoded).toEqual(frames.map(({ hex }) => hex));
  });
});

function hexOf({ buffer, byteOffset, byteLength }: ArrayBufferView): string {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString("hex");
}
