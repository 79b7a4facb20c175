import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requirePython } from "../../src/python/environment.ts";
import { findCommand, interpreterOf, thisMachine } from "../../src/python/location.ts";
import { buildIfStale } from "../support/build.ts";
import { socketDirectories } from "../support/processes.ts";
import { PACKAGE_ROOT, runPython } from "../support/python.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoints.ts";

const HOST = join(import.meta.dirname, "fixtures/host.mjs");
const ZIPAR = join(PACKAGE_ROOT, "dist/cli/main.js");

let scratch: string;
beforeAll(async () => {
  await buildIfStale();
  scratch = mkdtempSync(join(tmpdir(), "zipar-test-foreign-"));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("a working directory and variables that are meant for other programs", () => {
  /** Modules that Python, PyTorch and the worker import, and those that Python imports by itself. */
  const NAMES =
    "argparse ast encodings inspect json logging msgspec os queue random runpy signal site sitecustomize socket start " +
    "tempfile torch typing usercustomize zipar_worker zmq";
  let folder: string;
  let ran: string;
  let variables: Record<string, string>;

  beforeAll(() => {
    folder = join(scratch, "project");
    ran = join(scratch, "ran");
    mkdirSync(folder);
    for (const name of NAMES.split(" ")) {
      const text = `open(${JSON.stringify(ran)}, "a").write("${name} ")\nraise SystemExit("the user's ${name}")\n`;
      writeFileSync(join(folder, `${name}.py`), text);
    }
    for (const name of ["numpy", "safetensors", "transformers"]) {
      mkdirSync(join(folder, name));
      cpSync(join(folder, "torch.py"), join(folder, name, "__init__.py"));
    }
    variables = {
      PYTHONPATH: [folder, ".", ""].join(":"),
      PYTHONHOME: folder,
      PYTHONPLATLIBDIR: "elsewhere",
      PYTHONUSERBASE: folder,
      PYTHONSTARTUP: join(folder, "os.py"),
      PYTHONPYCACHEPREFIX: join(scratch, "bytecode"),
      PYTHONINSPECT: "1",
      PYTHONWARNINGS: "error",
      PYTHONOPTIMIZE: "2",
      PYTHONIOENCODING: "utf-16",
      PYTHONMALLOC: "nonsense",
      PYTHONUTF8: "nonsense",
      PYTHONBREAKPOINT: "os.nothing",
      PYTHONPROFILEIMPORTTIME: "1",
      PYTHONVERBOSE: "1",
      __PYVENV_LAUNCHER__: join(folder, "python"),
    };
  });

  test("reach neither the worker nor what it imports", async () => {
    const { exitCode, stderr } = await execa(
      process.execPath,
      [HOST, "generate-and-leave", tinyCheckpoint("4x4")],
      { cwd: folder, env: { ...variables, ZIPAR_PYTHON: undefined }, reject: false, stdin: "ignore" },
    );
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(existsSync(ran)).toBe(false);
    expect(existsSync(join(scratch, "bytecode"))).toBe(false);
  });

  test("reach no probe", async () => {
    const { stdout } = await execa(process.execPath, [ZIPAR, "doctor", "--json"], {
      cwd: folder,
      env: { ...variables, ZIPAR_PYTHON: undefined },
    });
    expect(JSON.parse(stdout).works).toBe(true);
    expect(existsSync(ran)).toBe(false);
  });
});

test("a package whose path holds what a list of paths or a shell would take apart starts its worker", async () => {
  const root = join(scratch, `a:b;c 'd" ü#%41$HOME`);
  mkdirSync(join(root, "python-worker"), { recursive: true });
  for (const path of ["package.json", "dist", "python-worker/start.py", "python-worker/zipar_worker"])
    cpSync(join(PACKAGE_ROOT, path), join(root, path), { recursive: true });
  symlinkSync(join(PACKAGE_ROOT, "node_modules"), join(root, "node_modules"));
  const code = `
    import { createEngine, stubProcess } from "./dist/index.js";
    await (await createEngine({ worker: stubProcess({ rows: 3, columns: 3 }) })).dispose();
  `;
  writeFileSync(join(root, "program.mjs"), code);
  const { stderr } = await execa(process.execPath, ["program.mjs"], {
    cwd: root,
    env: { ZIPAR_PYTHON: requirePython().python },
  });
  expect(stderr).toBe("");
});

describe("an interpreter that the user manages", () => {
  let bare: string;
  const start = (variables: Record<string, string>) =>
    execa(process.execPath, [HOST, "leave"], {
      env: { ...variables, PYTHONHOME: undefined },
      reject: false,
      stdin: "ignore",
    });

  beforeAll(async () => {
    bare = join(scratch, "bare");
    await runPython(["-m", "venv", "--without-pip", bare]);
  });

  test("may be named by the folder of its environment; what it lacks is said, and how to install it", async () => {
    const { stderr } = await start({ ZIPAR_PYTHON: bare, PYTHONPATH: "" });
    expect(stderr).toContain("python-environment");
    expect(stderr).toContain(`ZIPAR_PYTHON names ${interpreterOf(bare)}, which lacks packages`);
    expect(stderr).toMatch(/msgspec, pyzmq.* -m pip install -r .*requirements\.lock/);
  });

  test("finds packages in PYTHONPATH, but never a module of Python's own or of zipar's there", async () => {
    const folder = join(scratch, "modules");
    mkdirSync(folder);
    for (const name of ["json", "typing", "zipar_worker"])
      writeFileSync(join(folder, `${name}.py`), 'raise SystemExit("not this one")\n');
    const packages = await runPython([
      "-c",
      "import msgspec, os; print(os.path.dirname(os.path.dirname(msgspec.__file__)))",
    ]);
    const { exitCode, stderr } = await start({
      ZIPAR_PYTHON: bare,
      PYTHONPATH: `:${folder}:${packages.trim()}`,
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  });

  test.each([
    ["a program that is no Python", process.execPath],
    ["a script whose own program is gone", "script"],
  ])("that is %s is an error that says so", async (_, chosen) => {
    const path = join(scratch, chosen === "script" ? "script" : "");
    if (chosen === "script") writeFileSync(path, "#!/nowhere/python\n", { mode: 0o755 });
    const { stderr } = await start({ ZIPAR_PYTHON: chosen === "script" ? path : chosen });
    expect(stderr).toMatch(/ZIPAR_PYTHON names .*, which does not run \(.*\)\. zipar needs Python 3\.11/);
  });
});

describe.runIf(process.platform !== "win32")("a directory for temporary files", () => {
  test.each([
    ["is too deep for a socket's path", "d".repeat(100), true],
    ["is not there", "nowhere", false],
  ])("that %s does not keep a worker from starting, and nothing is left behind", async (_, name, isThere) => {
    const TMPDIR = join(scratch, name);
    if (isThere) mkdirSync(TMPDIR);
    const host = execa(process.execPath, [HOST, "generate-and-leave"], { env: { TMPDIR }, reject: false });
    const { exitCode, stderr } = await host;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(isThere ? socketDirectories(TMPDIR) : []).toEqual([]);
    expect(socketDirectories("/tmp").filter((found) => found.includes(`-${host.pid}-`))).toEqual([]);
  });
});

const setpriv = findCommand("setpriv", thisMachine());

describe.runIf(process.platform === "linux" && process.getuid?.() === 0 && setpriv !== undefined)(
  "a user without an account and without a home",
  () => {
    const UID = 54_321;

    /** The right to read everything stands in for files that everybody may read; only what it owns can be written. */
    const asNobody = (...command: string[]) =>
      execa(
        setpriv as string,
        [
          ...[`--reuid=${UID}`, `--regid=${UID}`, "--clear-groups"],
          ...["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"],
          ...command,
        ],
        {
          cwd: "/",
          env: {
            HOME: undefined,
            USER: undefined,
            LOGNAME: undefined,
            LNAME: undefined,
            USERNAME: undefined,
          },
          reject: false,
        },
      );

    test("generates images, with a text encoder of transformers too", async () => {
      const out = join(scratch, "out");
      chmodSync(scratch, 0o755);
      mkdirSync(out);
      chownSync(out, UID, UID);
      const model = join(scratch, "captions");
      cpSync(tinyCheckpoint("captions"), model, { recursive: true });
      const options = ["--model", model, "--out", join(out, "x.png")];
      const { stderr, exitCode } = await asNobody(process.execPath, ZIPAR, "generate", "a fox", ...options);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      expect(existsSync(join(out, "x.png"))).toBe(true);
    });
  },
);
