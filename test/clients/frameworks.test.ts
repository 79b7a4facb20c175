import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, expect, test } from "vitest";
import { packageRoot } from "#zipar/python/location";

const page = readFileSync(join(packageRoot, "docs/frameworks.md"), "utf8");
/** Among the clients, where packages are found. */
const folder = mkdtempSync(fileURLToPath(new URL("./.program-", import.meta.url)));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program of the page as a file: the one whose first line names it. */
function programOf(name: string): string {
  const code = Array.from(page.matchAll(/^```js\n(.*?)^```/gms), ([, text = ""]) => text).find((text) =>
    text.startsWith(`// ${name}\n`),
  );
  if (code === undefined) throw new Error(`docs/frameworks.md has no ${name}`);
  const path = join(folder, name.replace(/\.js$/, ".mjs"));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, code);
  return path;
}

test("the Express server streams previews and the picture, and a client that leaves cancels its image", async () => {
  const parameters = ["--import", watcher(), programOf("server.mjs")];
  const server = execa(process.execPath, parameters, { env: { PORT: "0" }, reject: false });
  try {
    const cancelled = new Promise<void>((resolve) => {
      server.stdout.on("data", (text) => String(text).includes("image: cancelled") && resolve());
    });
    const port = await new Promise<string>((resolve, reject) => {
      server.stdout.on("data", (text) => resolve(/port (\d+)/.exec(String(text))?.[1] ?? ""));
      server.then(({ stderr }) => reject(new Error(stderr)));
    });
    const address = `http://127.0.0.1:${port}/pictures/lighthouse`;
    const left = new AbortController();
    const leaving = await fetch(address, { signal: left.signal });
    await leaving.body?.getReader().read();
    left.abort();
    await cancelled;

    const text = await (await fetch(address)).text();
    const events = Array.from(text.matchAll(/^event: (.*)\ndata: (.*)$/gm), ([, type, data]) => ({
      type,
      data: JSON.parse(data as string),
    }));
    expect(events.filter(({ type }) => type === "preview")).toHaveLength(3);
    expect(events.at(-1)?.type).toBe("image");
    const { width } = await sharp(Buffer.from(events.at(-1)?.data.png, "base64")).metadata();
    expect(width).toBe(128);
  } finally {
    server.kill("SIGTERM");
  }
  expect((await server).exitCode).toBe(0);
});

test("the Next.js route answers as OpenAI does, and keeps its model when its module is loaded again", async () => {
  const path = programOf("app/v1/[...path]/route.js");
  type Route = Record<"GET" | "POST", (request: Request) => Promise<Response>>;
  const load = (version: number): Promise<Route> => import(`${pathToFileURL(path).href}?${version}`);
  const [route, again] = [await load(1), await load(2)];
  const shared = globalThis as { zipar?: { stop(): Promise<void> } };
  try {
    const request = new Request("http://next.example/v1/images/generations", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "lighthouse", stream: true, partial_images: 2, seed: 7 }),
    });
    const text = await (await route.POST(request)).text();
    expect(text.match(/^event: .*$/gm)).toEqual([
      "event: image_generation.partial_image",
      "event: image_generation.partial_image",
      "event: image_generation.completed",
    ]);
    const models = await again.GET(new Request("http://next.example/v1/models"));
    expect(await models.json()).toMatchObject({ data: [{ id: "demo", zipar: { state: "ready" } }] });
  } finally {
    await shared.zipar?.stop();
  }
});

test("the configuration of Next.js keeps zipar out of its bundles", async () => {
  const { default: config } = await import(pathToFileURL(programOf("next.config.mjs")).href);
  expect(config.serverExternalPackages).toEqual(["zipar"]);
});

/** Says how each generation of a program ended, and lets it take the most forwards: one that is left has not ended before. */
const WATCH = `
import { Engine } from "zipar";
const { generate } = Engine.prototype;
Engine.prototype.generate = function (options) {
  const generation = generate.call(this, { ...options, window: "full", lookahead: 0 });
  generation.then(() => console.log("image: finished"), (error) => console.log("image: " + error.code));
  return generation;
};`;

/** What Electron does with the program, for two windows: one waits for its picture, one is closed before. */
const ELECTRON = `
import { EventEmitter } from "node:events";
export const app = new EventEmitter();
app.whenReady = () => Promise.resolve();
app.quit = () => {
  let isPutOff = false;
  app.emit("will-quit", { preventDefault: () => (isPutOff = true) });
  console.log(isPutOff ? "quit: put off" : "quit: done");
};
export class BrowserWindow { async loadFile(name) { console.log("window: " + name); } }
export const ipcMain = {
  async handle(channel, answer) {
    const window = () => Object.assign(new EventEmitter(), { send(name, png) { this.emit("sent", name, png); } });
    const [staying, leaving] = [window(), window()];
    staying.on("sent", (name, png) => console.log(name + ": " + Buffer.from(png).toString("latin1", 1, 4)));
    leaving.once("sent", () => leaving.emit("destroyed"));
    const left = answer({ sender: leaving }, "lighthouse").catch((error) => error.code);
    const png = await answer({ sender: staying }, "lighthouse");
    console.log("picture: " + Buffer.from(png).toString("latin1", 1, 4));
    console.log("left: " + (await left));
    console.log("listeners: " + (staying.listenerCount("destroyed") + leaving.listenerCount("destroyed")));
    app.quit();
  },
};`;

test("the Electron program sends previews and the picture, and quits when its worker has ended", async () => {
  const path = programOf("main.mjs");
  const electron = join(folder, "node_modules/electron");
  mkdirSync(electron, { recursive: true });
  writeFileSync(join(electron, "package.json"), JSON.stringify({ type: "module", exports: "./index.js" }));
  writeFileSync(join(electron, "index.js"), ELECTRON);
  const { stdout } = await execa(process.execPath, ["--import", watcher(), path]);
  const lines = stdout.split("\n");
  expect(lines.filter((line) => line === "preview: PNG")).toHaveLength(4);
  for (const line of ["window: index.html", "picture: PNG", "left: cancelled", "listeners: 0"])
    expect(lines).toContain(line);
  expect(lines.filter((line) => line.startsWith("image: ")).sort()).toEqual([
    "image: cancelled",
    "image: finished",
  ]);
  expect(lines.slice(-2)).toEqual(["quit: put off", "quit: done"]);
});

test("the window of the Electron program is given what the program answers and sends", async () => {
  const preload = programOf("preload.cjs");
  expect(readFileSync(preload, "utf8")).toContain('invoke("picture"');
  expect(readFileSync(programOf("main.mjs"), "utf8")).toContain('handle("picture"');
  await execa(process.execPath, ["--check", preload]);
});

function watcher(): string {
  const path = join(folder, "watch.mjs");
  writeFileSync(path, WATCH);
  return pathToFileURL(path).href;
}
