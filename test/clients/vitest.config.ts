import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: [
      { find: /^#zipar\/(.*)$/, replacement: fileURLToPath(new URL("../../src/$1.ts", import.meta.url)) },
    ],
  },
  test: {
    globalSetup: ["serve.ts"],
    isolate: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
    // The package as it was built, which Node loads.
    server: { deps: { external: [/\/dist\//] } },
  },
});
