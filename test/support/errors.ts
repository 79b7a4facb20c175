import { expect } from "vitest";
import { ZiparError } from "../../src/errors.ts";

/** The ZiparError that something throws or rejects with. */
export async function ziparErrorOf(action: () => unknown): Promise<ZiparError> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(ZiparError);
    return error as ZiparError;
  }
  return expect.unreachable("expected a ZiparError, nothing was thrown");
}
