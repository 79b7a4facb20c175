import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: [
      { find: /^#zipar\/(.*)$/, replacement: fileURLToPath(new URL("../../src/$1.ts", import.meta.url)) },
    ],
  },
  test: { testTimeout: 600_000, hookTimeout: 300_000 },
});
