import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Tests that start Python or a browser lie in `test/process`, and only there: every test belongs to exactly one project. */
const process = "test/process/**/*.test.ts";
/** Their packages are apart from ours: `npm run test:clients`, `npm run test:ray`. */
const apart = ["test/clients/**", "test/ray/**"];

export default defineConfig({
  // Programs beside the tests import the build; within a test they are run from the sources.
  resolve: {
    alias: [{ find: /^#zipar\/(.*)$/, replacement: fileURLToPath(new URL("src/$1.ts", import.meta.url)) }],
  },
  test: {
    restoreMocks: true,
    maxWorkers: "100%",
    // What is polled for may take its time on a busy machine.
    expect: { poll: { timeout: 60_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [process, ...apart],
          // Importing every module anew for each file takes as long as the tests themselves.
          isolate: false,
          // Property tests of a busy machine take their time.
          testTimeout: 300_000,
          env: {
            // A unit test that asks for Python fails, with this path in the message.
            ZIPAR_PYTHON: "/unit-tests/run/without/python",
            // Fonts are looked up once in a process: before the first drawing of any file.
            FONTCONFIG_FILE: fileURLToPath(new URL("test/support/no-fonts.conf", import.meta.url)),
          },
        },
      },
      {
        extends: true,
        test: {
          name: "process",
          include: [process],
          globalSetup: ["test/support/tiny-checkpoints.ts"],
          isolate: false,
          // They wait for Python and PyTorch to be imported.
          testTimeout: 300_000,
          hookTimeout: 300_000,
          // Tiny models are not worth several threads: on a busy machine these wait for each other more than they compute.
          env: { OMP_NUM_THREADS: "1" },
        },
      },
    ],
  },
});
