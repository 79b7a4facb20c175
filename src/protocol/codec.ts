import { Packr } from "msgpackr";
import { ZiparError } from "../errors.ts";
import { type Frame, LIMITS, PROTOCOL_VERSION, type Reply, replySchema } from "./messages.ts";

/** Arrays travel as raw little-endian frames behind the header. */
export type WireArray = Int32Array | Float32Array | Float64Array | Uint8Array;

export interface NamedArray {
  readonly name: string;
  readonly data: WireArray;
  /** Default: one dimension. */
  readonly shape?: readonly number[];
}

/** Arrays of a received message, by name. */
export type WireArrays = ReadonlyMap<string, { readonly data: WireArray; readonly shape: readonly number[] }>;

const constructors = {
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
  uint8: Uint8Array,
} as const;

const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true, int64AsType: "number" });

/** Encodes a header and its arrays. The arrays must not change afterwards: ZeroMQ sends them without copying. */
export function encodeMessage(header: Record<string, unknown>, arrays: readonly NamedArray[]): Uint8Array[] {
  const frames = arrays.map(({ name, data, shape }) => ({
    name,
    dtype: dtypeOf(data),
    shape: shape ?? [data.length],
  }));
  return [
    packr.pack({ ...header, frames }),
    ...arrays.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ];
}

/**
 * Decodes and checks a message from a worker: header against its schema, every frame's byte length against dtype and shape.
 * @throws ZiparError `protocol`
 */
export function decodeReply(parts: readonly Uint8Array[]): { reply: Reply; arrays: WireArrays } {
  const [header, ...frames] = parts;
  if (header === undefined || header.length === 0) throw malformed("an empty message");
  if (header.length > LIMITS.headerBytes)
    throw malformed(`a header of ${header.length} bytes, over ${LIMITS.headerBytes}`);
  const parsed = replySchema.safeParse(unpack(header));
  if (!parsed.success) {
    const problems = parsed.error.issues.map(
      (issue) => `${issue.path.join(".") || "header"}: ${issue.message}`,
    );
    throw malformed(
      `a header that does not fit protocol version ${PROTOCOL_VERSION} (${problems.slice(0, 3).join("; ")})`,
    );
  }
  const reply = parsed.data;
  if (frames.length !== reply.frames.length) {
    throw malformed(
      `${frames.length} frames where the header of "${reply.type}" announces ${reply.frames.length}`,
    );
  }
  const arrays = new Map(
    reply.frames.map((frame, k) => [
      frame.name,
      { data: decodeFrame(frame, frames[k] as Uint8Array), shape: frame.shape },
    ]),
  );
  if (arrays.size !== frames.length) throw malformed("two frames of the same name");
  return { reply, arrays };
}

/**
 * An array that a reply must carry, of `rank` dimensions.
 * @throws ZiparError `protocol` when it is missing, of another dtype or of another rank
 */
export function takeArray<Dtype extends keyof typeof constructors>(
  arrays: WireArrays,
  name: string,
  dtype: Dtype,
  rank = 1,
): InstanceType<(typeof constructors)[Dtype]> {
  const array = arrays.get(name);
  if (array === undefined)
    throw malformed(`no frame "${name}"; got ${[...arrays.keys()].join(", ") || "none"}`);
  if (!(array.data instanceof constructors[dtype])) {
    throw malformed(`frame "${name}" of dtype ${dtypeOf(array.data)}; expected ${dtype}`);
  }
  if (array.shape.length !== rank)
    throw malformed(`frame "${name}" with shape [${array.shape}]; expected ${rank} dimensions`);
  return array.data as InstanceType<(typeof constructors)[Dtype]>;
}

export function malformed(received: string): ZiparError {
  return new ZiparError({ code: "protocol", message: `the worker sent ${received}` });
}

function unpack(header: Uint8Array): unknown {
  try {
    return packr.unpack(header);
  } catch (cause) {
    throw new ZiparError({
      code: "protocol",
      message: "the worker sent a header that is not msgpack",
      cause,
    });
  }
}

function decodeFrame({ name, dtype, shape }: Frame, bytes: Uint8Array): WireArray {
  const ArrayOfDtype = constructors[dtype];
  const length = shape.reduce((product, side) => product * side, 1);
  const expected = length * ArrayOfDtype.BYTES_PER_ELEMENT;
  if (expected > LIMITS.frameBytes)
    throw malformed(`a frame "${name}" of ${expected} bytes, over ${LIMITS.frameBytes}`);
  if (bytes.byteLength !== expected) {
    throw malformed(`frame "${name}" with ${bytes.byteLength} bytes; ${dtype} [${shape}] has ${expected}`);
  }
  const isAligned = bytes.byteOffset % ArrayOfDtype.BYTES_PER_ELEMENT === 0;
  const aligned = isAligned ? bytes : Uint8Array.prototype.slice.call(bytes);
  return new ArrayOfDtype(aligned.buffer as ArrayBuffer, aligned.byteOffset, length);
}

function dtypeOf(data: WireArray): Frame["dtype"] {
  if (data instanceof Int32Array) return "int32";
  if (data instanceof Float32Array) return "float32";
  if (data instanceof Float64Array) return "float64";
  return "uint8";
}
