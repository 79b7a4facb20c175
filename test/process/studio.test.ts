import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "@hono/node-server";
import axe from "axe-core";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createEngine, readPictureSettings, stubWorker } from "../../src/index.ts";
import type { ServerOptions } from "../../src/server/index.ts";
import { findBrowser, startBrowser } from "../support/browser.ts";
import { buildIfStale } from "../support/build.ts";
import { type StubServer, stubServer } from "../support/stub-server.ts";

const executable = findBrowser();
if (executable === undefined)
  process.stderr.write(
    "\nNOT RUN: the studio's tests in a browser. Neither ZIPAR_CHROMIUM nor PATH has a Chromium (Debian: apt-get install chromium).\n\n",
  );

const STUB = { rows: 12, columns: 16, codeCount: 50 };
const CELLS = 12 * 16;

let browser: Browser;
let context: BrowserContext;
let page: Page;
let stub: StubServer;
let http: Server;
let address: string;
let temporary: string;
/** What the page's console said. */
let complaints: string[];

/** Forwards wait while it is closed. */
const gate = {
  opened: Promise.resolve(),
  open: () => {},
  close(): void {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  },
};

async function startServer(options: ServerOptions = {}, port = 0): Promise<void> {
  stub = await stubServer({ studio: true, ...options }, {}, {}, STUB);
  stub.worker.beforeForward = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    await gate.opened;
  };
  http = await new Promise((resolve) => {
    const listening = serve(
      { fetch: stub.server.fetch, port, hostname: "127.0.0.1", overrideGlobalObjects: false },
      () => resolve(listening as Server),
    );
  });
  address = `http://127.0.0.1:${(http.address() as { port: number }).port}/`;
}

async function stopServer(): Promise<void> {
  http.closeAllConnections();
  await new Promise((resolve) => http.close(resolve));
  gate.open();
  await stub[Symbol.asyncDispose]();
}

async function openPage(settings: Parameters<Browser["newContext"]>[0] = {}): Promise<void> {
  await context?.close();
  context = await browser.newContext(settings);
  page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text()); // what the policy forbids is one
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(address);
}

async function make(wish: Readonly<Record<string, string>> = {}): Promise<void> {
  await page.fill("#class-name", "3");
  await page.evaluate("document.querySelector('details').open = true");
  for (const [id, value] of Object.entries({ seed: "5", ...wish })) {
    if (["window", "count"].includes(id)) await page.selectOption(`#${id}`, value);
    else await page.fill(`#${id}`, value);
  }
  await page.click("#make");
}

/** Lets so many forwards of the picture that has just been asked for run, and waits until the page has them. */
async function runForwards(count: number): Promise<void> {
  const until = stub.worker.batches.length + count;
  const given = stub.worker.beforeForward;
  stub.worker.beforeForward = async (index) => {
    if (index >= until) gate.close();
    await given(index);
  };
  gate.open();
  await expect.poll(() => stub.worker.batches.length).toBeGreaterThan(until);
  stub.worker.beforeForward = given;
  await untilPhase("decoding");
  await expect
    .poll(async () => Number(await page.locator("#time").inputValue()))
    .toBeGreaterThanOrEqual(count);
}

function phases(): Promise<readonly string[]> {
  return page.evaluate('[...document.querySelectorAll(".pane")].map(({ dataset }) => dataset.phase)');
}

async function untilPhase(phase: string, count = 1): Promise<void> {
  await expect.poll(phases).toEqual(new Array(count).fill(phase));
}

function seek(forward: number): Promise<void> {
  return page.locator("#time").fill(String(forward));
}

/** Cells of a picture in which something is drawn: beside their middle, where marks are. Runs in the page. */
const COUNT_DRAWN = `(pane) => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))).then(() => {
  const canvas = document.querySelectorAll(".pane canvas")[pane];
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let cell = 0; cell < ${CELLS}; cell++) {
    const x = Math.floor(((cell % ${STUB.columns} + 0.15) * canvas.width) / ${STUB.columns});
    const y = Math.floor(((Math.floor(cell / ${STUB.columns}) + 0.15) * canvas.height) / ${STUB.rows});
    if (data[(y * canvas.width + x) * 4 + 3] > 0) count += 1;
  }
  return count;
})`;

function drawnCells(pane = 0): Promise<number> {
  return page.evaluate(`(${COUNT_DRAWN})(${pane})`);
}

/** Violations of the rules of WCAG 2.2 A and AA, and of good practice. */
async function violations(): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  return page.evaluate(
    'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, ...nodes.map(({ target }) => target)].join(" ")))',
  );
}

/** Pixels that the page is wider than its window. */
function overflow(): Promise<number> {
  return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
}

/** The id of what has the focus. */
function focused(): Promise<string> {
  return page.evaluate("document.activeElement.id");
}

describe.skipIf(executable === undefined)("the studio in a browser", () => {
  beforeAll(async () => {
    await buildIfStale();
    temporary = mkdtempSync(join(tmpdir(), "zipar-test-studio-"));
    browser = await startBrowser(executable as string);
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(temporary, { recursive: true, force: true });
  });
  beforeEach(async () => {
    complaints = [];
    gate.opened = Promise.resolve();
    await startServer();
    await openPage();
  });
  afterEach(async () => {
    await stopServer();
  });

  test("makes a picture that grows while it is decoded, and hands it out with how it was made", async () => {
    gate.close();
    await make({ window: "fixed", "window-size": "2", lookahead: "4" });
    await runForwards(8);
    const midway = await page.locator("#time-label").textContent();
    expect(midway).toMatch(/^(\d+) \/ \1$/);
    const cells = Number(await page.locator(".pane dd strong").nth(1).textContent());
    expect(cells).toBeGreaterThan(8);
    expect(cells).toBeLessThan(CELLS);
    expect(await drawnCells()).toBe(cells);
    expect(await page.locator(".pane dl").textContent()).toContain("Time left");
    expect(await page.locator("#legend").isVisible()).toBe(true);
    expect(await page.locator("#make").isVisible()).toBe(false);
    gate.open();
    await untilPhase("finished");
    expect(await drawnCells()).toBe(CELLS);
    await seek(5);
    const early = await drawnCells();
    expect(early).toBeGreaterThan(0);
    expect(early).toBeLessThan(cells);
    await page.getByRole("radio", { name: "Order" }).check();
    expect(await drawnCells()).toBe(early);

    const downloading = page.waitForEvent("download");
    await page.getByText("Download PNG").click();
    const download = await downloading;
    expect(download.suggestedFilename()).toBe("class-3-5.png");
    const path = join(temporary, "picture.png");
    await download.saveAs(path);
    expect((await readPictureSettings(path))?.options).toMatchObject({
      classLabel: 3,
      seed: 5,
      window: 2,
      lookahead: 4,
    });
    expect(complaints).toEqual([]);
  });

  test("makes several pictures together, with seeds that follow each other", async () => {
    await make({ count: "3" });
    await untilPhase("finished", 3);
    expect(await page.locator(".how").allTextContents()).toEqual(
      [5, 6, 7].map((seed) => expect.stringContaining(`Seed ${seed} `)),
    );
    expect(stub.worker.batches.some((batch) => batch.length === 3)).toBe(true);
    await expect.poll(() => page.locator("#pictures li").count()).toBe(3);
  });

  test("cancels within a forward, and keeps what is there", async () => {
    gate.close();
    await make({ window: "full", lookahead: "0" });
    await runForwards(6);
    await page.click("#cancel");
    await untilPhase("cancelled");
    gate.open();
    await expect.poll(() => stub.worker.released.length).toBe(1);
    expect(stub.worker.batches.length).toBeLessThan(12);
    expect(await page.locator(".note").textContent()).toMatch(/^Cancelled at forward \d+$/);
    expect(await drawnCells()).toBeGreaterThan(4);
    expect(await page.locator("#make").isVisible()).toBe(true);
    expect(await page.locator("#pictures li").count()).toBe(0);
  });

  test("tells that the worker was lost, and finishes the same picture", async () => {
    await make({ window: "fixed", "window-size": "3", lookahead: "0" });
    await untilPhase("finished");
    const undisturbed = await page.locator(".pane canvas").screenshot();
    let restart = () => {};
    stub.worker.beforeRestart = () =>
      new Promise((resolve) => {
        restart = resolve;
      });
    gate.close();
    await page.click("#make");
    await runForwards(7);
    stub.worker.lose();
    gate.open();
    await untilPhase("recovering");
    expect(await page.locator(".note").textContent()).toMatch(/^The worker was lost at forward \d+\./);
    restart();
    await untilPhase("finished");
    expect(await page.locator(".note").isVisible()).toBe(false);
    await drawnCells();
    expect((await page.locator(".pane canvas").screenshot()).equals(undisturbed)).toBe(true);
  });

  test("shows another window and another seed beside it, on one timeline", async () => {
    await make({ window: "fixed", "window-size": "1", lookahead: "0" });
    await untilPhase("finished");
    const first = 16 + 11;
    expect(await page.locator("#time").getAttribute("max")).toBe(String(first));
    await page.selectOption("#with", "full");
    await page.getByRole("button", { name: "Compare" }).click();
    await untilPhase("finished", 2);
    const [own, other] = await page.locator(".how").allTextContents();
    expect([own, other]).toEqual(["Seed 5 · window 1", "Seed 5 · next-token order"]);
    const longest = Number(await page.locator("#time").getAttribute("max"));
    expect(longest).toBeGreaterThan(first);
    await seek(20);
    const [plain, raster] = [await drawnCells(0), await drawnCells(1)];
    expect(plain).toBeGreaterThan(raster);
    expect(await page.locator(".pane dd strong").nth(4).textContent()).toBe("20");
    await page.selectOption("#with", "seed");
    await page.getByRole("button", { name: "Compare" }).click();
    await untilPhase("finished", 3);
    expect((await page.locator(".how").nth(2).textContent())?.startsWith("Seed 5 ")).toBe(false);
  });

  test("keeps pictures and the form over a reload, and makes one again", async () => {
    await make({ window: "guessed", "window-size": "3", temperature: "0.5" });
    await untilPhase("finished");
    await expect.poll(() => page.locator("#pictures li").count()).toBe(1);
    await page.reload();
    await expect.poll(() => page.locator("#pictures li").count()).toBe(1);
    expect(await page.locator("#class-name").inputValue()).toBe("3");
    expect(await page.locator("#temperature").inputValue()).toBe("0.5");
    await page.getByRole("button", { name: /^Show Class 3/ }).click();
    await untilPhase("finished");
    await expect.poll(() => drawnCells()).toBe(CELLS);
    expect(await drawnCells()).toBe(CELLS);
    await seek(4);
    expect(await drawnCells()).toBeLessThan(CELLS);
    await page.fill("#class-name", "9");
    await page.selectOption("#window", "full");
    await page.getByRole("button", { name: /^Use again: Class 3/ }).click();
    expect(await page.locator("#class-name").inputValue()).toBe("3");
    expect(await page.locator("#window").inputValue()).toBe("guessed");
    expect(await page.locator("#window-size").inputValue()).toBe("3");
    expect(await page.locator("#seed").inputValue()).toBe("5");
    await page.getByRole("button", { name: /^Delete Class 3/ }).click();
    await expect.poll(() => page.locator("#pictures li").count()).toBe(0);
    await page.reload();
    await page.locator('#server[data-state="ready"]').waitFor();
    expect(await page.locator("#pictures li").count()).toBe(0);
  });

  test("says that the server is gone, and goes on when it is back", async () => {
    gate.close();
    await make({ lookahead: "0" });
    await runForwards(5);
    const port = Number(new URL(address).port);
    await stopServer();
    await untilPhase("failed");
    expect(await page.locator(".note").textContent()).toMatch(
      /ended before the picture was finished|cannot be reached/,
    );
    expect(await drawnCells()).toBeGreaterThan(3);
    await expect.poll(() => page.locator("#server").textContent()).toBe("Not reachable");
    await page.getByRole("button", { name: "Try again" }).click();
    await expect.poll(() => page.locator(".note").textContent()).toContain("cannot be reached");
    gate.opened = Promise.resolve();
    await startServer({}, port);
    await page.locator('#server[data-state="ready"]').waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await untilPhase("finished");
  });

  test("says in the server's words what it refuses, and beside the field what cannot be", async () => {
    await make({ seed: "x" });
    expect(await page.locator("#problem").textContent()).toContain("The seed is a whole number");
    expect(await focused()).toBe("seed");
    expect(await violations()).toEqual([]);
    await make({ "class-name": "5000" });
    await untilPhase("failed");
    expect(await page.locator(".note").textContent()).toContain('no class "5000"');
    expect(stub.worker.batches).toEqual([]);
  });

  test("asks once for the key of a server that wants one, and keeps it for the tab alone", async () => {
    await stopServer();
    await startServer({ apiKeys: ["secret"] });
    await openPage();
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    expect(await violations()).toEqual([]);
    await page.fill("#key", "wrong");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator("#key-title").textContent()).toContain("not one of this server");
    await page.fill("#key", "secret");
    await page.keyboard.press("Enter");
    await page.locator('#server[data-state="ready"]').waitFor();
    await make();
    await untilPhase("finished");
    await page.reload();
    await page.locator('#server[data-state="ready"]').waitFor();
    expect(await dialog.isVisible()).toBe(false);
    expect(await page.evaluate('[sessionStorage.getItem("zipar-key"), localStorage.length]')).toEqual([
      "secret",
      0,
    ]);
    const other = await context.newPage();
    await other.goto(address);
    await other.getByRole("dialog").waitFor();
  });

  test("plays a trace without a model, and says what is wrong with a file that is none", async () => {
    const lines: string[] = [];
    const engine = await createEngine({ worker: stubWorker(STUB) });
    await engine.generate({ classLabel: 1, window: "adaptive", seed: 2, trace: (line) => lines.push(line) });
    await engine.dispose();
    const path = join(temporary, "run.jsonl");
    writeFileSync(path, lines.join("\n"));
    await page.setInputFiles("#trace-file", path);
    await page.getByRole("button", { name: "Pause" }).waitFor();
    await page.getByRole("button", { name: "Play" }).waitFor(); // at its end
    const last = lines.length - 1;
    await expect.poll(() => page.locator("#time-label").textContent()).toBe(`${last} / ${last}`);
    expect(await drawnCells()).toBe(CELLS);
    expect(stub.worker.batches).toEqual([]);

    const drop = async (name: string, text: string) => {
      const file = `new File([${JSON.stringify(text)}], ${JSON.stringify(name)})`;
      const transfer = await page.evaluateHandle(
        `(() => { const data = new DataTransfer(); data.items.add(${file}); return data; })()`,
      );
      await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
    };
    await drop("half.jsonl", lines.slice(0, 6).join("\n"));
    await expect.poll(() => page.locator("#time").getAttribute("max")).toBe("5");
    await drop("notes.txt", "hello");
    await expect
      .poll(() => page.locator("#news").textContent())
      .toContain("notes.txt cannot be played. Line 1: expected a zipar trace");
    expect(await violations()).toEqual([]);
  });

  test("is used by keyboard alone", async () => {
    await page.locator('#server[data-state="ready"]').waitFor();
    await page.locator("body").press("Tab");
    const reach = async (id: string) => {
      for (let k = 0; k < 40; k++) {
        if ((await focused()) === id) return;
        await page.keyboard.press("Tab");
      }
      throw new Error(`no Tab leads to #${id}`);
    };
    await reach("class-name");
    await page.keyboard.type("3");
    await reach("seed");
    await page.keyboard.type("5");
    await page.keyboard.press("Control+Enter");
    await untilPhase("finished");
    await reach("time");
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await expect.poll(() => page.locator("#time-label").textContent()).toMatch(/^2 \//);
    await reach("with");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await untilPhase("finished", 2);
  });

  test.each([
    ["light", 1280],
    ["dark", 1280],
    ["light", 360],
    ["dark", 360],
  ] as const)(
    "fits and has no barriers that axe knows, %s and %i pixels wide",
    async (colorScheme, width) => {
      await openPage({ colorScheme, viewport: { width, height: 780 } });
      await page.locator('#server[data-state="ready"]').waitFor();
      expect([await violations(), await overflow()]).toEqual([[], 0]);
      gate.close();
      await make({ window: "guessed" });
      await runForwards(6);
      expect([await violations(), await overflow()]).toEqual([[], 0]);
      gate.open();
      await untilPhase("finished");
      await page.getByRole("button", { name: "Compare" }).click();
      await untilPhase("finished", 2);
      await expect.poll(() => page.locator("#pictures li").count()).toBe(2);
      await seek(9);
      expect([await violations(), await overflow()]).toEqual([[], 0]);
      await page.click("#delete-all");
      expect(await violations()).toEqual([]);
      await page.getByRole("button", { name: "Keep them" }).click();
      expect(complaints).toEqual([]);
    },
  );
});
