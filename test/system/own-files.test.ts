import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { packageRoot, workerFiles } from "../../src/python/location.ts";
import { ownPath, packageRootOf } from "../../src/system/own-files.ts";
import { ziparErrorOf } from "../support/errors.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-own-files-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function make(...names: readonly string[]): string {
  const path = join(folder, ...names);
  mkdirSync(path, { recursive: true });
  return path;
}

describe("the package's own files", () => {
  test("lie two folders above the code", () => {
    const root = make("node_modules", "zipar");
    const python = make("node_modules", "zipar", "python-worker");
    const code = pathToFileURL(join(root, "dist", "python", "location.js")).href;
    expect(packageRootOf(code)).toBe(root);
    expect(ownPath(packageRootOf(code), "python-worker")).toBe(python);
    expect(workerFiles().directory).toBe(join(packageRoot, "python-worker"));
  });

  test.each([
    ["an ESM bundle", (bundle: string) => pathToFileURL(bundle).href],
    ["a CommonJS bundle", () => undefined],
    ["code that comes from no file", () => "blob:nodedata:1"],
  ])("that are not beside %s are missed with a typed error", async (_, urlOf) => {
    const root = packageRootOf(urlOf(join(make("app", "out"), "server.mjs")));
    const error = await ziparErrorOf(() => ownPath(root, "no-such-folder"));
    expect(error.code).toBe("python-environment");
    expect(error.message).toContain("own files were not found beside");
    expect(error.message).toContain("--external:zipar");
    expect(error.message).toContain('serverExternalPackages: ["zipar"]');
    expect(error.message).toContain("ssr.external");
    expect(error.details.expected).toBe(join(root, "no-such-folder"));
  });

  test("that were left out of Electron's archive are found beside it", () => {
    const packed = make("resources", "app.asar", "node_modules", "zipar");
    make("resources", "app.asar", "node_modules", "zipar", "python-worker");
    const unpacked = make("resources", "app.asar.unpacked", "node_modules", "zipar", "python-worker");
    expect(ownPath(packed, "python-worker")).toBe(unpacked);
    expect(workerFiles(packed).runLock).toBe(join(unpacked, "requirements.lock"));
    expect(
      ownPath(join(folder, "resources", "app.asar.unpacked", "node_modules", "zipar"), "python-worker"),
    ).toBe(unpacked);
  });

  test("that only the archive holds are missed with the setting that leaves them out", async () => {
    const packed = make("resources", "app.asar", "node_modules", "zipar");
    make("resources", "app.asar", "node_modules", "zipar", "python-worker");
    const error = await ziparErrorOf(() => ownPath(packed, "python-worker"));
    expect(error.code).toBe("python-environment");
    expect(error.message).toContain('asarUnpack: ["**/node_modules/zipar/**"]');
    expect(error.message).not.toContain("esbuild");
  });
});
