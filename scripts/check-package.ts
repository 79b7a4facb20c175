/**
 * Checks the tarball that `npm pack` makes: `--lint` its contents and entry points, `--install` that it works in an
 * empty project elsewhere, with a Python environment of its own in a cache of its own.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { packageRoot as root } from "#zipar/python/location";

const largestPackage = 25e6;
/** Fetched for the check alone. */
const ESBUILD = "esbuild@0.25.12";
const neededFiles = [
  "package.json",
  "README.md",
  "CHANGELOG.md",
  "LICENSE",
  "dist/index.js",
  "dist/index.d.ts",
  "dist/ai-sdk/index.js",
  "dist/ai-sdk/index.d.ts",
  "dist/server/index.js",
  "dist/server/index.d.ts",
  "dist/cli/main.js",
  "dist/studio/page/main.js",
  "studio/index.html",
  "studio/studio.css",
  "python-worker/pyproject.toml",
  "python-worker/requirements.lock",
  "python-worker/requirements-test.lock",
  "python-worker/requirements-uv.lock",
  "python-worker/requirements-ray.lock",
  "python-worker/start.py",
  "python-worker/zipar_ray/__main__.py",
  "python-worker/zipar_worker/__main__.py",
  "checkpoints/demo/",
  "proto/",
];
/** Sources, tests and left-overs of tools. */
const unwanted =
  /^(src|test|scripts|bench|examples)\/|^python-worker\/(tests|zipar_demo|zipar_testing|\.)|__pycache__|\.pyc$|\.test\.|\.(ts|tsx)$/;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

const { values: flags } = parseArgs({ options: { lint: { type: "boolean" }, install: { type: "boolean" } } });
const scratch = mkdtempSync(join(tmpdir(), "zipar-package-"));
try {
  const tarball = packPackage();
  if (flags.lint) lintPackage(tarball);
  if (flags.install) installPackage(tarball);
} finally {
  rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
}

function packPackage(): string {
  const [packed]: readonly [Packed] = JSON.parse(
    npm(["pack", "--json", "--pack-destination", scratch], { cwd: root }),
  );
  const paths = packed.files.map(({ path }) => path);
  const megabytes = (packed.size / 1e6).toFixed(1);
  console.log(
    `${packed.filename}: ${paths.length} files, ${megabytes} MB packed, ${(packed.unpackedSize / 1e6).toFixed(1)} MB unpacked`,
  );
  const missing = neededFiles.filter(
    (needed) => !paths.some((path) => path === needed || (needed.endsWith("/") && path.startsWith(needed))),
  );
  const surplus = paths.filter((path) => unwanted.test(path) && !path.endsWith(".d.ts"));
  expect(missing.length === 0, `the package lacks ${missing.join(", ")}`);
  expect(surplus.length === 0, `the package should not hold ${surplus.join(", ")}`);
  expect(packed.size < largestPackage, `the package is ${megabytes} MB, allowed are ${largestPackage / 1e6}`);
  return join(scratch, packed.filename);
}

function lintPackage(tarball: string): void {
  tool("publint/src/cli.js", ["run", tarball, "--strict"]);
  // zipar is ESM alone: CommonJS gets it by `require` of an ES module.
  tool("@arethetypeswrong/cli/dist/index.js", [tarball, "--ignore-rules", "cjs-resolves-to-esm"]);
}

function installPackage(tarball: string): void {
  const project = join(scratch, "project");
  const variables: NodeJS.ProcessEnv = { ...process.env, ...privateCaches() };
  delete variables.ZIPAR_PYTHON;
  mkdirSync(project);
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ name: "elsewhere", private: true, type: "module" }),
  );
  console.log("npm install, without install scripts");
  npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", tarball], {
    cwd: project,
  });

  const zipar = (parameters: readonly string[]) => runNpx(project, variables, parameters);
  const plan = JSON.parse(
    zipar(["plan", "--rows", "90", "--columns", "90", "--window", "7", "--row-end", "token", "--json"]),
  );
  expect(plan.forwards === 713 && plan.nextTokenForwards === 8190, `plan printed ${JSON.stringify(plan)}`);

  zipar(["setup"]);
  const again = JSON.parse(zipar(["setup", "--json"]));
  expect(again.changed === false, "a second set-up changed something");
  expect(again.directory.startsWith(variables.XDG_CACHE_HOME), `the environment lies in ${again.directory}`);

  const made = JSON.parse(
    zipar(["generate", "--model", "demo", "--class", "0", "--window", "4", "--json", "--out", "x.png"]),
  );
  expect(made.images.length === 1 && made.images[0].forwards > 0, `generate printed ${JSON.stringify(made)}`);
  const png = readFileSync(join(project, "x.png"));
  expect(png.subarray(1, 4).toString() === "PNG" && png.length > 100, "x.png is no picture");
  console.log(`generated x.png (${png.length} bytes) in ${made.images[0].forwards} forwards`);

  const imported = `
    import { createEngine } from "zipar";
    import { zipar } from "zipar/ai-sdk";
    import { createServer } from "zipar/server";
    console.log(typeof createEngine, typeof zipar, typeof createServer);`;
  const types = execFileSync(process.execPath, ["--input-type=module", "--eval", imported], {
    cwd: project,
    encoding: "utf8",
  });
  expect(types.trim() === "function function function", `the imports gave ${types.trim()}`);

  checkBundles(project);
  checkWithoutNativeModules(project, zipar);
}

/** zipar cannot be bundled, since Python must find its files: it has to say so, and what needs none of them has to work. */
function checkBundles(project: string): void {
  const program = `
    const planned = plan({ rows: 4, columns: 6, window: 2 }).forwards;
    createEngine({ model: "demo" }).catch(({ code, message }) => console.log(JSON.stringify({ planned, code, message })));`;
  const names = "createEngine, plan";
  for (const [format, source] of [
    ["esm", `import { ${names} } from "zipar";${program}`],
    ["cjs", `const { ${names} } = require("zipar");${program}`],
  ] as const) {
    const bundle = join(project, "bundle", `server.${format === "esm" ? "mjs" : "cjs"}`);
    writeFileSync(join(project, "server.js"), source);
    const settings = [
      "--bundle",
      "--platform=node",
      "--packages=bundle",
      `--format=${format}`,
      "--log-level=error",
    ];
    const esbuild = ["exec", "--yes", `--package=${ESBUILD}`, "--", "esbuild", "server.js", ...settings];
    npm([...esbuild, `--outfile=${bundle}`], { cwd: project });
    const said = JSON.parse(execFileSync(process.execPath, [bundle], { cwd: project, encoding: "utf8" }));
    const isAsExpected =
      said.planned === 12 && said.code === "python-environment" && /--external:zipar/.test(said.message);
    expect(isAsExpected, `bundled as ${format}, zipar said ${JSON.stringify(said)}`);
    console.log(`bundled as ${format}, zipar says what to do`);
  }
}

/** As where node_modules comes from another system: the packages are there, their native parts are not. */
function checkWithoutNativeModules(project: string, zipar: (parameters: readonly string[]) => string): void {
  for (const part of ["@img", "zeromq/build", "@msgpackr-extract"])
    rmSync(join(project, "node_modules", part), { recursive: true, force: true });
  zipar(["--version"]);
  zipar(["plan", "--rows", "8", "--columns", "8", "--window", "2"]);
  const program = `
    import { createEngine, stubWorker } from "zipar";
    const engine = await createEngine({ worker: stubWorker() });
    const { image } = await engine.generate({ classLabel: 1 });
    const codeOf = (promise) => promise.then(() => "no failure", ({ code }) => code);
    console.log(await codeOf(image.encode()), await codeOf(createEngine({ model: "demo" })));`;
  const codes = execFileSync(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: project,
    env: { ...process.env, ZIPAR_PYTHON: process.execPath },
    encoding: "utf8",
  });
  expect(codes.trim() === "native-module native-module", `without native modules: ${codes.trim()}`);
  console.log("without native modules, what needs none works");
}

/** zipar's cache is a new one; uv keeps its own, or everything would be downloaded again. */
function privateCaches(): NodeJS.ProcessEnv {
  const usual = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const uvCache = process.env.UV_CACHE_DIR ?? (process.platform === "win32" ? undefined : join(usual, "uv"));
  const pipCache =
    process.env.PIP_CACHE_DIR ?? (process.platform === "win32" ? undefined : join(usual, "pip"));
  return {
    XDG_CACHE_HOME: join(scratch, "cache"),
    ...(uvCache && { UV_CACHE_DIR: uvCache }),
    ...(pipCache && { PIP_CACHE_DIR: pipCache }),
  };
}

function runNpx(project: string, env: NodeJS.ProcessEnv, parameters: readonly string[]): string {
  console.log(`npx zipar ${parameters.join(" ")}`);
  return npm(["zipar", ...parameters], { cwd: project, env }, "npx");
}

function npm(
  parameters: readonly string[],
  settings: { readonly cwd: string; readonly env?: NodeJS.ProcessEnv },
  program = "npm",
): string {
  const shell = process.platform === "win32";
  return execFileSync(program, parameters, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    shell,
    ...settings,
  });
}

function tool(path: string, parameters: readonly string[]): void {
  execFileSync(process.execPath, [join(root, "node_modules", path), ...parameters], {
    cwd: scratch,
    stdio: "inherit",
  });
}

function expect(condition: boolean, message: string): void {
  if (condition) return;
  console.error(`package check failed: ${message}`);
  rmSync(scratch, { recursive: true, force: true });
  process.exit(1);
}
