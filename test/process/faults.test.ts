import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { buildTool } from "../support/build.ts";

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
  test("costs no image, or a typed error, and leaves nothing behind", async () => {
    const report = await runHarness("--quick", "--slack", "5");
    const complaints = report.table.flatMap(({ row, verdict }) =>
      verdict.complaints.map((complaint) => `${row.name} in ${row.phase}: ${complaint}`),
    );
    expect(complaints).toEqual([]);
    expect(report.rows).toBeGreaterThan(15);
    expect([report.processesLeft, report.directoriesLeft]).toEqual([0, 0]);
  });
});

async function runHarness(...options: readonly string[]): Promise<Report> {
  const parameters = [await buildTool("test/faults/main.ts"), "--json", ...options];
  const { stdout, stderr } = await execa(process.execPath, parameters, { reject: false });
  if (stdout === "") throw new Error(`the harness ended without a report: ${stderr}`);
  return JSON.parse(stdout);
}
