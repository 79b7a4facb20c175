import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { ZiparError } from "../../src/errors.ts";
import { decodeReply, encodeMessage, type NamedArray, takeArray } from "../../src/protocol/codec.ts";
import { LIMITS } from "../../src/protocol/messages.ts";
import { runs } from "../support/property-runs.ts";

const packr = new Packr({ useRecords: false });
const DONE = { type: "done", epoch: 1, request: 2 } as const;

const data: fc.Arbitrary<NamedArray["data"]> = fc.oneof(
  fc.int32Array({ maxLength: 20 }),
  fc.float32Array({ maxLength: 20 }),
  fc.float64Array({ maxLength: 20 }),
  fc.uint8Array({ maxLength: 20 }),
);
const arrays: fc.Arbitrary<NamedArray[]> = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 16 }), { maxLength: LIMITS.frames })
  .chain((names) => fc.tuple(...names.map((name) => data.map((values) => ({ name, data: values })))));

function expectProtocolError(parts: readonly Uint8Array[], said: string | RegExp): void {
  try {
    decodeReply(parts);
  } catch (error) {
    expect(error).toBeInstanceOf(ZiparError);
    expect((error as ZiparError).code).toBe("protocol");
    expect((error as ZiparError).message).toMatch(said);
    return;
  }
  expect.unreachable("the message was accepted");
}

test("arrays arrive bit for bit, wherever ZeroMQ puts them in memory", () => {
  fc.assert(
    fc.property(arrays, fc.nat(7), (sent, offset) => {
      const parts = encodeMessage(DONE, sent).map((part, k) => (k === 0 ? part : shifted(part, offset)));
      const received = decodeReply(parts);
      expect(received.reply).toMatchObject(DONE);
      expect([...received.arrays.keys()]).toEqual(sent.map(({ name }) => name));
      for (const { name, data } of sent) {
        const array = received.arrays.get(name);
        expect(array?.shape).toEqual([data.length]);
        expect(array?.data.constructor).toBe(data.constructor);
        expect(bytesOf(array?.data as NamedArray["data"])).toEqual(bytesOf(data));
      }
    }),
    { seed: 1 },
  );
});

test("a view of a larger buffer travels as its own bytes only", () => {
  const view = new Int32Array([1, 2, 3, 4, 5]).subarray(1, 3);
  const [, frame] = encodeMessage(DONE, [{ name: "x", data: view }]);
  expect(frame?.byteLength).toBe(8);
  const { arrays } = decodeReply(encodeMessage(DONE, [{ name: "x", data: view }]));
  expect([...takeArray(arrays, "x", "int32")]).toEqual([2, 3]);
});

test("headers are plain msgpack maps, without extensions that other languages cannot read", () => {
  const [header] = encodeMessage(
    { ...DONE, absent: undefined, none: null, text: "é", list: [1, 2.5, -3] },
    [],
  );
  expect(packr.unpack(header as Uint8Array)).toEqual({
    ...DONE,
    absent: null,
    none: null,
    text: "é",
    list: [1, 2.5, -3],
    frames: [],
  });
  const firstByte = (header as Uint8Array)[0] as number;
  expect((firstByte & 0xf0) === 0x80 || firstByte === 0xde).toBe(true); // fixmap or map16
});

test("counters beyond 32 bits arrive as numbers", () => {
  const { reply } = decodeReply([wireHeader({ ...DONE, epoch: 2n ** 40n, frames: [] })]);
  expect(reply.epoch).toBe(2 ** 40);
});

function wireHeader(header: unknown): Uint8Array {
  return packr.pack(header);
}

describe("a message that breaks the protocol is a protocol error that says what is wrong", () => {
  const frame = { name: "x", dtype: "int32", shape: [2] };
  const cases: readonly [string, readonly Uint8Array[], string | RegExp][] = [
    ["no parts", [], "empty message"],
    ["an empty header", [new Uint8Array()], "empty message"],
    ["a header that is not msgpack", [Uint8Array.of(0xc1)], /msgpack|does not fit/],
    ["a truncated header", [wireHeader({ ...DONE, frames: [] }).slice(0, 5)], /msgpack|does not fit/],
    ["a header that is no map", [wireHeader([1, 2])], "does not fit protocol version 2"],
    ["an unknown type", [wireHeader({ type: "explode", epoch: 1, request: 1, frames: [] })], "type"],
    ["a missing field", [wireHeader({ type: "done", epoch: 1, frames: [] })], "request"],
    ["an unknown field", [wireHeader({ ...DONE, frames: [], colour: "blue" })], "colour"],
    ["a negative counter", [wireHeader({ ...DONE, epoch: -1, frames: [] })], "epoch"],
    ["a fractional counter", [wireHeader({ ...DONE, request: 1.5, frames: [] })], "request"],
    [
      "a frame too few",
      [wireHeader({ ...DONE, frames: [frame] })],
      '0 frames where the header of "done" announces 1',
    ],
    ["a frame too many", [wireHeader({ ...DONE, frames: [] }), new Uint8Array(1)], "1 frames"],
    [
      "a short frame",
      [wireHeader({ ...DONE, frames: [frame] }), new Uint8Array(7)],
      "7 bytes; int32 [2] has 8",
    ],
    [
      "a long frame",
      [wireHeader({ ...DONE, frames: [frame] }), new Uint8Array(9)],
      "9 bytes; int32 [2] has 8",
    ],
    [
      "an unknown dtype",
      [wireHeader({ ...DONE, frames: [{ ...frame, dtype: "int64" }] }), new Uint8Array(16)],
      "dtype",
    ],
    [
      "a shape beyond all bounds",
      [wireHeader({ ...DONE, frames: [{ ...frame, shape: [2 ** 31 - 1, 2 ** 31 - 1] }] }), new Uint8Array(8)],
      /over 268435456/,
    ],
    [
      "too many frames",
      [wireHeader({ ...DONE, frames: new Array(9).fill(frame) }), ...new Array(9).fill(new Uint8Array(8))],
      "frames",
    ],
    ["an oversized header", [new Uint8Array(LIMITS.headerBytes + 1)], `over ${LIMITS.headerBytes}`],
  ];
  test.each(cases)("%s", (_, parts, said) => {
    expectProtocolError(parts, said);
  });

  test("a missing array", () => {
    const { arrays } = decodeReply(encodeMessage(DONE, [{ name: "x", data: Int32Array.of(1) }]));
    expect(() => takeArray(arrays, "y", "int32")).toThrow(/no frame "y"; got x/);
  });

  test("an array of another dtype", () => {
    const { arrays } = decodeReply(encodeMessage(DONE, [{ name: "x", data: Float32Array.of(1) }]));
    expect(() => takeArray(arrays, "x", "int32")).toThrow(/"x" of dtype float32; expected int32/);
  });

  test("an array with another number of dimensions", () => {
    const list = { name: "x", data: Int32Array.of(1, 2), shape: [1, 2] };
    const { arrays } = decodeReply(encodeMessage(DONE, [list]));
    expect(() => takeArray(arrays, "x", "int32")).toThrow(/"x" with shape \[1,2\]; expected 1 dimensions/);
    expect([...takeArray(arrays, "x", "int32", 2)]).toEqual([1, 2]);
  });
});

describe("nothing that arrives makes decoding fail in any other way", () => {
  const decodesOrIsAProtocolError = (parts: readonly Uint8Array[]) => {
    try {
      decodeReply(parts);
    } catch (error) {
      expect(ZiparError.is(error) && error.code).toBe("protocol");
    }
  };
  const bytes = fc.uint8Array({ maxLength: 64 });

  test("random bytes", () => {
    fc.assert(fc.property(fc.array(bytes, { maxLength: 10 }), decodesOrIsAProtocolError), {
      numRuns: runs(2000),
      seed: 1,
    });
  });

  test("valid messages with bytes replaced, removed or inserted", () => {
    const valid = arrays.map((sent) => encodeMessage(DONE, sent));
    const change = fc.record({
      part: fc.nat(8),
      start: fc.nat(200),
      removed: fc.nat(12),
      inserted: fc.uint8Array({ maxLength: 12 }),
    });
    fc.assert(
      fc.property(valid, change, (parts, { part, start, removed, inserted }) => {
        const changed = parts.map((bytes) => Uint8Array.from(bytes));
        const index = part % changed.length;
        const target = changed[index] as Uint8Array;
        const at = start % (target.length + 1);
        changed[index] = Uint8Array.from([
          ...target.slice(0, at),
          ...inserted,
          ...target.slice(at + removed),
        ]);
        decodesOrIsAProtocolError(changed);
      }),
      { numRuns: runs(2000), seed: 2 },
    );
  });

  test("headers with one field replaced by anything", () => {
    const header = { ...DONE, frames: [{ name: "x", dtype: "int32", shape: [1] }] };
    fc.assert(
      fc.property(fc.constantFrom("type", "epoch", "request", "frames"), fc.anything(), (field, value) => {
        let packed: Uint8Array;
        try {
          packed = wireHeader({ ...header, [field]: value });
        } catch {
          return; // not everything can be packed
        }
        decodesOrIsAProtocolError([packed, new Uint8Array(4)]);
      }),
      { numRuns: runs(500), seed: 3 },
    );
  });
});

function shifted(part: Uint8Array, offset: number): Uint8Array {
  const moved = new Uint8Array(part.length + offset);
  moved.set(part, offset);
  return moved.subarray(offset);
}

function bytesOf(array: NamedArray["data"]): Uint8Array {
  return Uint8Array.from(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
}
