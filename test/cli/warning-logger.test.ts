import { afterEach, expect, test, vi } from "vitest";
import { warningLogger } from "../../src/cli/stderr-logger.ts";

afterEach(() => vi.restoreAllMocks());

test("warnings of a worker are said on stderr, each of them once, and nothing else is", () => {
  const written: string[] = [];
  vi.spyOn(process.stderr, "write").mockImplementation((text) => written.push(String(text)) > 0);
  for (const message of ["it runs on the CPU", "a letter is lost", "it runs on the CPU"])
    warningLogger.warn(message);
  warningLogger.info("another worker is ready");
  warningLogger.debug("worker: ...");
  expect(written).toEqual(["zipar: it runs on the CPU\n", "zipar: a letter is lost\n"]);
});
