import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installPythonEnvironment, resolvePythonEnvironment } from "../../src/python/environment.ts";
import { interpreterOf, workerFiles } from "../../src/python/location.ts";
import { findSitePackages } from "../../src/python/managed/installed-packages.ts";
import { parseLock } from "../../src/python/managed/requirements-lock.ts";

// A package root like the real one, whose lock holds one tiny package of the real lock.
let root: string;
let lines: string[];
const tiny = "iniconfig";

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "zipar-environment-"));
  mkdirSync(join(root, "src"));
  mkdirSync(join(root, "python-worker", "zipar_worker"), { recursive: true });
  const files = workerFiles(root);
  writeFileSync(files.runLock, lockOf(tiny));
  writeFileSync(files.testLock, lockOf(tiny, "sortedcontainers"));
  copyFileSync(workerFiles().uvLock, files.uvLock);
  const probe = {
    python: "3",
    torch: "2",
    cuda: null,
    cudaDevices: [],
    gpuProblem: null,
    threads: { count: 1, reason: "1 core" },
    memory: null,
  };
  writeFileSync(
    join(files.directory, "zipar_worker", "__main__.py"),
    `import ${tiny}\nprint('${JSON.stringify(probe)}')\n`,
  );
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("an environment that zipar manages", () => {
  test("is not there at first, and says what to run", () => {
    const environment = resolvePythonEnvironment({ root, variables: variables() });
    expect(environment).toMatchObject({ installed: false, source: "managed" });
    expect(environment.installed ? "" : environment.reason).toContain("npx zipar setup");
  });

  test("is made, and a second set-up leaves it alone", async () => {
    expect(await setUp()).toMatchObject({ changed: true, source: "managed" });
    expect(await setUp()).toMatchObject({ changed: false });
    expect(resolvePythonEnvironment({ root, variables: variables() })).toMatchObject({
      installed: true,
      python: interpreterOf(environmentDirectory()),
    });
  });

  test("is mended when a package's dist-info or folder is gone", async () => {
    for (const name of installedEntries().filter((entry) => entry.startsWith(tiny))) {
      rmSync(join(sitePackages(), name), { recursive: true });
      const broken = resolvePythonEnvironment({ root, variables: variables() });
      expect(broken.installed ? "" : broken.reason).toContain(`${name} is missing`);
      expect(await setUp()).toMatchObject({ changed: true });
      expect(installedEntries()).toContain(name);
    }
  });

  test("is mended when a single file is cut", async () => {
    const file = join(sitePackages(), tiny, "__init__.py");
    const whole = readFileSync(file, "utf8");
    // Removed first: the file may be a link into uv's cache.
    rmSync(file);
    writeFileSync(file, whole.slice(0, 10));
    expect(await setUp()).toMatchObject({ changed: true });
    expect(lines.join("\n")).toContain(`${tiny}/__init__.py`);
    expect(readFileSync(file, "utf8")).toBe(whole);
  });

  test("is completed when set-up was killed in the middle", async () => {
    rmSync(join(environmentDirectory(), "zipar-environment.json"));
    rmSync(join(sitePackages(), tiny, "__init__.py"));
    expect(resolvePythonEnvironment({ root, variables: variables() }).installed).toBe(false);
    expect(await setUp()).toMatchObject({ changed: true });
  });

  test("gets the test tools when they are asked for, and keeps them", async () => {
    expect(resolvePythonEnvironment({ root, variables: variables(), includeTestTools: true }).installed).toBe(
      false,
    );
    expect(await setUp({ includeTestTools: true })).toMatchObject({ changed: true });
    expect(await setUp()).toMatchObject({ changed: false });
    expect(installedEntries()).toContain("sortedcontainers");
  });

  test("is made anew when its interpreter is gone", async () => {
    rmSync(interpreterOf(environmentDirectory()));
    expect(await setUp({ includeTestTools: true })).toMatchObject({ changed: true });
    expect(lines.join("\n")).toContain("its Python interpreter is gone");
  });

  test("stays usable when an update cannot be installed", async () => {
    const { testLock } = workerFiles(root);
    const before = readFileSync(testLock, "utf8");
    writeFileSync(testLock, before + lockOf("pluggy").replaceAll(/sha256:\w{8}/g, "sha256:00000000"));
    await expect(setUp({ includeTestTools: true })).rejects.toMatchObject({
      code: "python-environment",
    });
    expect(resolvePythonEnvironment({ root, variables: variables() }).installed).toBe(true);
    expect(readdirSync(join(root, "python-worker")).filter((name) => name.startsWith(".venv"))).toEqual([
      ".venv",
    ]);
    writeFileSync(testLock, before);
  });
});

describe("an interpreter that the user manages", () => {
  test("is taken as it is, by path or by name", () => {
    const python = interpreterOf(environmentDirectory());
    expect(resolvePythonEnvironment({ variables: { ZIPAR_PYTHON: python } })).toMatchObject({
      installed: true,
      python,
      source: "ZIPAR_PYTHON",
    });
    const named = { ZIPAR_PYTHON: "python", PATH: join(python, "..") };
    expect(resolvePythonEnvironment({ variables: named })).toMatchObject({ installed: true, python });
  });

  test("that does not exist is an error that names it", async () => {
    const environment = resolvePythonEnvironment({ variables: { ZIPAR_PYTHON: "/no/such/python" } });
    expect(environment.installed ? "" : environment.reason).toContain('ZIPAR_PYTHON is "/no/such/python"');
    await expect(setUp({ ZIPAR_PYTHON: "/no/such/python" })).rejects.toMatchObject({
      code: "python-environment",
    });
  });

  test("that lacks the worker's packages is an error that says which, and is not changed", async () => {
    const python = interpreterOf(environmentDirectory());
    const before = installedEntries();
    rmSync(join(sitePackages(), tiny), { recursive: true });
    await expect(setUp({ ZIPAR_PYTHON: python })).rejects.toThrow(`No module named '${tiny}'`);
    expect(installedEntries()).toEqual(before.filter((entry) => entry !== tiny));
  });
});

test("no Python at all is an error that says what to install", async () => {
  const empty = join(root, "empty");
  mkdirSync(empty);
  await expect(setUp({ PATH: empty, force: true })).rejects.toThrow(
    /needs Python 3\.11 to 3\.14.*No Python was found on PATH/s,
  );
});

test.runIf(process.platform !== "win32")(
  "no Python, but uv: uv is to bring one, and its reason is told where it cannot",
  async () => {
    const folder = join(root, "uv-alone");
    mkdirSync(folder);
    const log = join(folder, "log");
    const script = `#!/bin/sh
if [ "$1" = --version ]; then echo "uv 0.13.9"; exit; fi
echo "$PWD $HTTPS_PROXY $*" >> "${log}"
echo "no way out" >&2
exit 2
`;
    writeFileSync(join(folder, "uv"), script, { mode: 0o755 });
    const proxies = Object.keys(process.env).filter((name) => /_proxy$/i.test(name));
    const none = Object.fromEntries(proxies.map((name) => [name, undefined]));
    const failed = setUp({ ...none, PATH: folder, PIP_PROXY: "http://proxy.test", force: true });
    await expect(failed).rejects.toThrow(
      /No Python was found on PATH.*uv could not get one either.*no way out/s,
    );
    expect(lines.join("\n")).toContain("uv brings Python 3.12");
    expect(readFileSync(log, "utf8")).toBe(
      `/ http://proxy.test venv --quiet --python 3.12 ${environmentDirectory()}\n`,
    );
  },
);

interface SetUp extends Record<string, unknown> {
  readonly includeTestTools?: boolean;
  readonly force?: boolean;
}

function setUp({ includeTestTools = false, force = false, ...changed }: SetUp = {}) {
  lines = [];
  return installPythonEnvironment({
    root,
    includeTestTools,
    force,
    variables: variables(changed as NodeJS.ProcessEnv),
    onProgress: ({ message }) => lines.push(message),
  });
}

/** The real environment's uv is at hand where the machine has none, so that no test waits for pip. */
function variables(changed: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { ZIPAR_PYTHON: _, UV_TORCH_BACKEND: __, ...inherited } = process.env;
  const realBin = join(interpreterOf(join(workerFiles().directory, ".venv")), "..");
  return { ...inherited, PATH: `${process.env.PATH}${delimiter}${realBin}`, ...changed };
}

function lockOf(...names: readonly string[]): string {
  const packages = parseLock(readFileSync(workerFiles().testLock, "utf8"));
  return packages
    .filter(({ name }) => names.includes(name))
    .map(({ text }) => `${text}\n`)
    .join("");
}

function environmentDirectory(): string {
  return join(root, "python-worker", ".venv");
}

function sitePackages(): string {
  return join(environmentDirectory(), findSitePackages(environmentDirectory()) ?? "");
}

function installedEntries(): readonly string[] {
  return readdirSync(sitePackages());
}
