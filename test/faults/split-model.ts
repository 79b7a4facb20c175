import { execa } from "execa";
import { requirePython } from "#zipar/python/environment";
import { isolatedVariables, runsModule } from "#zipar/python/isolation";

/** Writes a small checkpoint into `folder` that can be split over two devices: the demo's three heads cannot. */
export async function writeSplitModel(folder: string): Promise<void> {
  const { python, source } = requirePython();
  const options = ["llamagen", "--rows", "6", "--columns", "8", "--out", folder];
  await execa(python, [...runsModule("zipar_testing.tiny"), ...options], {
    env: isolatedVariables(source),
    extendEnv: false,
  });
}
