import { join } from "node:path";
import { execa } from "execa";
import { packageRoot } from "#zipar/python/location";

/** `zipar serve` on any free port, once it listens; its model may still be loading. */
export async function serveCommand(options: readonly string[]) {
  const command = execa(
    process.execPath,
    [join(packageRoot, "dist/cli/main.js"), "serve", "--port", "0", ...options],
    {
      reject: false,
      forceKillAfterDelay: false, // a busy machine needs longer for the last picture
    },
  );
  const address = await new Promise<string>((resolve, reject) => {
    let output = "";
    command.stderr.on("data", (chunk) => {
      output += String(chunk);
      const [, found] = /listening on (https?:\/\/[^\s,]+)/.exec(output) ?? [];
      if (found !== undefined) resolve(found);
    });
    command.then(({ stderr }) => reject(new Error(`zipar serve ended: ${stderr}`)));
  });
  return { command, address };
}

/** A value of a server's metrics, by its name and labels; 0 where there is none yet. */
export async function readMetric(
  address: string,
  name: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<number> {
  const page = await (await fetch(`${address}/metrics`, { headers })).text();
  const line = page.split("\n").find((text) => text.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? 0);
}
