import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import { buildIfStale } from "../support/build.ts";
import { PACKAGE_ROOT } from "../support/tiny-checkpoint.ts";

interface Report {
  readonly rows: number;
  readonly processesLeft: number;
  readonly directoriesLeft: number;
  readonly table: readonly {
    readonly row: { readonly name: string; readonly phase: string };
    readonly verdict: { readonly complaints: readonly string[] };
  }[];
}

/** A cross-section of `npm run test:faults`, whose table says what is expected. */
describe.runIf(process.platform === "linux")("a worker that misbehaves on purpose", () => {
  beforeAll(buildIfStale);

  test("costs no image, or a typed error, and leaves nothing behind", async () => {
    const report = await runHarness("--quick", "--slack", "3");
    const complaints = report.table.flatMap(({ row, verdict }) =>
      verdict.complaints.map((complaint) => `${row.name} in ${row.phase}: ${complaint}`),
    );
    expect(complaints).toEqual([]);
    expect(report.rows).toBeGreaterThan(15);
    expect([report.processesLeft, report.directoriesLeft]).toEqual([0, 0]);
  });
});

async function runHarness(...options: readonly string[]): Promise<Report> {
  const script = join(PACKAGE_ROOT, "scripts/faults.mjs");
  const parameters = [script, "--skip-setup", "--json", ...options];
  const { stdout, stderr } = await execa(process.execPath, parameters, { reject: false });
  if (stdout === "") throw new Error(`the harness ended without a report: ${stderr}`);
  return JSON.parse(stdout);
}
