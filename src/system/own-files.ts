import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ZiparError } from "../errors.ts";

/** Electron's archive of an application. What is not to be packed lies beside it, in a folder of this name and `.unpacked`. */
const ARCHIVE = /\.asar(?=[\\/])/;

/** The file that a module runs from. Bundlers that write CommonJS leave `import.meta.url` empty, and `__filename` in its place. */
export function moduleFile(url: string | undefined): string {
  if (url?.startsWith("file:")) return fileURLToPath(url);
  return typeof __filename === "string" ? __filename : (process.argv[1] ?? process.execPath);
}

/** Root of the package, for a module two folders below it. A wrong one where a bundler has moved the code: `ownPath` looks. */
export function packageRootOf(url: string | undefined): string {
  return resolve(moduleFile(url), "../../..");
}

/**
 * A file or folder of the package as other programs can read it: Python knows nothing of archives.
 * @throws ZiparError `python-environment` where it is not there, because zipar was bundled or packed
 */
export function ownPath(root: string, ...names: readonly string[]): string {
  const path = join(root, ...names);
  const unpacked = path.replace(ARCHIVE, ".asar.unpacked");
  if (existsSync(unpacked)) return unpacked;
  throw new ZiparError({
    code: "python-environment",
    message: unpacked === path ? bundled(path) : packed(path, unpacked),
    details: { expected: unpacked },
  });
}

function bundled(expected: string): string {
  return (
    `zipar's own files were not found beside ${moduleFile(import.meta.url)}: expected ${expected}. If zipar was bundled, keep it external ` +
    '(esbuild --external:zipar, Next.js serverExternalPackages: ["zipar"], Vite ssr.external: ["zipar"]) and install it ' +
    "where the bundle runs; otherwise install zipar again."
  );
}

function packed(path: string, expected: string): string {
  return (
    `zipar lies in an archive (${path}), where Python cannot read it, and ${expected} does not exist. Have the packager leave ` +
    'it out: asarUnpack: ["**/node_modules/zipar/**"] in the settings of electron-builder, or ' +
    'asar: { unpack: "**/node_modules/zipar/**" } in those of Electron Packager and Forge.'
  );
}
