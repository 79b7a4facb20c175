import type { TestProject } from "vitest/node";
import { serveCommand } from "../support/serve-command.ts";

declare module "vitest" {
  interface ProvidedContext {
    readonly address: string;
  }
}

/** One server with the demo model for all clients. */
export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  process.env["OMP_NUM_THREADS"] = "1"; // on a busy machine several threads wait for each other
  const { command, address } = await serveCommand([
    "--model",
    "demo",
    "--device",
    "cpu",
    "--max-images",
    "4",
  ]);
  const stop = async () => {
    command.kill("SIGTERM");
    await command;
  };
  try {
    while ((await fetch(`${address}/readyz`)).status !== 200)
      await new Promise((resolve) => setTimeout(resolve, 100));
  } catch (error) {
    await stop();
    throw error;
  }
  provide("address", address);
  return stop;
}
