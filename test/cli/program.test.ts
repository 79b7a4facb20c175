import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommanderError } from "commander";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EXAMPLES } from "../../src/cli/examples.ts";
import { describeFailure, exitCodeOf } from "../../src/cli/failure.ts";
import { createProgram } from "../../src/cli/program.ts";
import { ZiparError } from "../../src/index.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-test-program-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What a command line fails with, and what it prints; a command that is not refused fails for want of Python. */
async function run(...words: readonly string[]): Promise<{ error: unknown; said: string }> {
  let said = "";
  const write = (text: string | Uint8Array) => {
    said += String(text);
    return true;
  };
  vi.spyOn(process.stderr, "write").mockImplementation(write);
  vi.spyOn(process.stdout, "write").mockImplementation(write);
  const error = await createProgram("1.2.3")
    .parseAsync(["node", "zipar", ...words])
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  if (error !== undefined && !(error instanceof CommanderError)) said += describeFailure(error, false);
  return { error, said };
}

async function refusal(...words: readonly string[]): Promise<string> {
  const { error, said } = await run(...words);
  expect(exitCodeOf(error), said).toBe(2);
  return said;
}

/** Whether a command went on to start its worker. */
async function starts(...words: readonly string[]): Promise<void> {
  const { error, said } = await run(...words);
  expect((error as ZiparError | undefined)?.code, said).toBe("python-environment");
}

describe("before anything is loaded generate refuses", () => {
  test.each<[string, readonly string[]]>([
    ["", ["give a prompt", "--class"]],
    ["cat --class 3", ['"cat"', "--class 3"]],
    ["cat --window-test coupled", ["--window-test", "--window adaptive"]],
    ["cat --window 4 --verification sequential", ["--verification", "--window adaptive"]],
    ["cat --keys k", ["--keys", "--listen"]],
    ["cat --prefix run.jsonl", ["--prefix-rows", "give both"]],
    ["cat --prefix-rows 3", ["--prefix names", "give both"]],
    ["cat --prefix nowhere.jsonl --prefix-rows 3", ["cannot read the trace nowhere.jsonl"]],
    ["cat --prefix run.jsonl --prefix-rows 0", ["--prefix-rows", "at least 1"]],
    ["cat --insecure-plaintext", ["--insecure-plaintext", "--listen"]],
    ["cat --devices cuda:0,cuda:1 --workers 2", ["--devices", "--workers"]],
    ["cat --devices all --device cuda:0", ["--devices", "--device;"]],
    ["cat --device cuda:0 --tensor-parallel 2", ["--tensor-parallel", "leave --device cuda:0 out"]],
    ["cat --devices cuda:0,cuda:1 --tensor-parallel 2", ["--devices", "leave --tensor-parallel out"]],
    ["cat --listen tcp://127.0.0.1:5 --tensor-parallel 2", ["--listen", "zipar worker --tensor-parallel"]],
    ["cat --tensor-parallel 17", ["--tensor-parallel", "16"]],
    ["cat --devices cuda:0+cuda:0,cuda:1", ["--devices", "different GPUs"]],
    ["cat --token-file k", ["--token-file", "--listen"]],
    ["cat --listen 10.0.0.1", ['--listen "10.0.0.1"', "tcp://"]],
    ["cat --listen tcp://10.0.0.1:5", ["--keys", "--insecure-plaintext"]],
    ["cat --workers 2:4", ["--workers MIN:MAX", "--listen"]],
    ["cat --workers 4:2 --listen tcp://127.0.0.1:5", ["--workers", "MIN:MAX such as 2:16", "smaller"]],
    ["cat --workers 65", ["--workers", "at most 64"]],
    ["cat --tokens", ["--tokens", "--json"]],
    ["cat --trace t.jsonl --count 3", ["--trace", "--count", "3"]],
    ["cat --no-image --out x.png", ["--no-image", "--out"]],
    ["--class 3 --negative-prompt x", ["--negative-prompt", "--class"]],
    ["cat --seed 9007199254740991 --count 2", ["--seed", "--count 2", "2^53 - 1", "9007199254740990"]],
    ["cat --model ./nowhere", ["--model", "nowhere"]],
    ["cat --vq ./nowhere", ["--vq", "nowhere"]],
    ["cat --text-encoder ./nowhere", ["--text-encoder", "nowhere"]],
    ["cat --out - --json", ["--out -", "--json"]],
    ["cat --out - --count 2", ["--out -", "--count", "2"]],
    ["cat --device cuda:99999", ["--device", "0 to 99"]],
    ["cat --top-k 2147483648", ["--top-k", "2147483647"]],
    ["cat --seed 18446744073709551615", ["--seed", "2^53 - 1"]],
  ])("%s", async (line, parts) => {
    const said = await refusal("generate", ...line.split(" ").filter(Boolean));
    for (const part of parts) expect(said).toContain(part);
    expect(said).not.toMatch(/topK|classLabel|insecurePlaintext|`keys`/);
  });

  test.each([
    ["of nothing", "", "says something"],
    ["of blanks", " \u00a0\n", "says something"],
    ["with half a surrogate pair", "a \ud83d cat", "surrogate"],
    ["beyond the limit", "x".repeat(65_537), "65536"],
  ])("a prompt %s", async (_, prompt, expected) => {
    const said = await refusal("generate", prompt);
    expect(said).toContain(expected);
    expect(said.length).toBeLessThan(400);
  });

  test.each(["pictures.gif", "pictures.avif", ".png", "pictures/.jpeg", "v1.0"])("--out %s", async (name) => {
    const said = await refusal("generate", "cat", "--out", join(folder, name));
    expect(said).toMatch(/ending/);
  });

  test("the picture of a file that is there, all of several, and none with --overwrite", async () => {
    for (const name of ["a.png", "b-2.png", "b-3.png"]) writeFileSync(join(folder, name), "mine");
    const out = (name: string) => ["generate", "cat", "--out", join(folder, name)];
    expect(await refusal(...out("a.png"))).toMatch(/a\.png exists already.*--overwrite/);
    expect(await refusal(...out("b.png"), "--count", "3")).toMatch(/b-2\.png, .*b-3\.png exist already/);
    await starts(...out("b.png"), "--count", "3", "--overwrite");
    await starts(...out("c.png"), "--count", "3");
  });

  test("a picture in a folder that an earlier run with the same seed and prompt left there", async () => {
    writeFileSync(join(folder, "cat-7.png"), "mine");
    const cat = ["generate", "cat", "--out", folder, "--seed"];
    expect(await refusal(...cat, "6", "--count", "2")).toContain("cat-7.png exists already");
    await starts(...cat, "8");
    await starts("generate", "dog", "--out", folder, "--seed", "7");
  });

  test("a folder that is a file, and a file in a folder that is not there", async () => {
    writeFileSync(join(folder, "file"), "");
    expect(await refusal("generate", "cat", "--out", join(folder, "file"))).toContain("no folder");
    expect(await refusal("generate", "cat", "--out", `${join(folder, "file")}/`)).toContain("no folder");
    expect(await refusal("generate", "cat", "--out", join(folder, "no", "a.png"))).toContain(
      "no such folder",
    );
  });

  test("a trace that is there", async () => {
    writeFileSync(join(folder, "cat.jsonl"), "mine");
    const trace = ["generate", "cat", "--trace", join(folder, "cat.jsonl")];
    expect(await refusal(...trace)).toContain("--trace");
    await starts(...trace, "--overwrite");
  });
});

test("what is not refused makes neither folders nor files before the first picture", async () => {
  mkdirSync(join(folder, "v1.0"));
  await starts("generate", "cat", "--out", join(folder, "v1.0"));
  await starts("generate", "cat", "--out", join(folder, "runs.v2/2026.11.30/"));
  await starts("generate", "cat", "--out", join(folder, "x.JPEG"), "--trace", join(folder, "t.jsonl"));
  await starts("generate", "--class", "3", "--seed", "-1", "--no-image", "--size", "512 X 512");
  expect(readdirSync(folder)).toEqual(["v1.0"]);
});

test.each([
  "plan --rows 2 --columns 2 --window 1 --svg",
  "trace missing.jsonl --svg",
  "trace missing.jsonl --png",
])("%s does not replace a file unless it is told to", async (line) => {
  const file = join(folder, "drawing");
  writeFileSync(file, "mine");
  expect(await refusal(...line.split(" "), file)).toContain("drawing exists already");
  const { said } = await run(...line.split(" "), file, "--overwrite");
  expect(said).not.toContain("exists already");
});

test.each<[string, readonly string[]]>([
  ["--keys k", ["--keys", "--listen"]],
  ["--workers 2:4", ["--workers MIN:MAX", "--listen"]],
  ["--devices all --workers 2", ["--devices", "--workers"]],
  ["--listen tcp://10.0.0.1:5", ["--keys", "--insecure-plaintext"]],
  ["--listen tcp://127.0.0.1:5 --devices all", ["--devices", "--listen"]],
  ["--listen tcp://127.0.0.1:5 --model a/b --model c/d", ["--listen", "one model"]],
  ["--listen tcp://127.0.0.1:5 --memory-budget 8", ["--memory-budget", "--listen"]],
  ["--model ./nowhere", ["--model", "nowhere"]],
])("before it listens serve refuses %s", async (line, parts) => {
  const said = await refusal("serve", ...line.split(" "));
  for (const part of parts) expect(said).toContain(part);
});

describe("a slip of the pen is answered with what was meant:", () => {
  test.each([
    ["genrate cat", "zipar generate"],
    ["install", "zipar setup"],
    ["lighthouse", 'zipar generate "lighthouse"'],
    ["generate cat --guidance 3", "Did you mean --guidance-scale?"],
    ["generate cat --cfg-scale 3", "Did you mean --guidance-scale?"],
    ["generate cat --negative_prompt x", "Did you mean --negative-prompt?"],
    ["generate cat --Seed 3", "Did you mean --seed?"],
    ["generate cat -o x.png", "Did you mean --out?"],
    ["generate --prompt cat", 'zipar generate "a lighthouse"'],
    ["generate cat --steps 30", "--lookahead"],
    ["generate cat --width 512", "--size 512x512"],
    ["generate a cat", "quotes"],
    ["info --modle x", "Did you mean --model?"],
    ["generate cat --device cudaa", "did you mean cuda?"],
    ["generate cat --device GPU", "did you mean cuda?"],
    ["generate cat --dtype fp16", "did you mean float16?"],
    ["generate cat --window ful", "did you mean full?"],
    ["generate cat --window adaptve:2", "did you mean adaptive:2?"],
    ["eval --windows 4,guesed:2", "did you mean 4,guessed:2?"],
    ["generate cat --verification seq", "did you mean sequential?"],
    ["plan --rows 2 --columns 2 --window 1 --row-end tokn", "did you mean token?"],
    ["generate cat --seed 0x10", "did you mean 16?"],
    ["generate cat --seed 1e3", "did you mean 1000?"],
    ["generate cat --seed 1_000", "did you mean 1000?"],
    ["generate cat --count 7.0", "did you mean 7?"],
    ["generate cat --seed ٣", "did you mean 3?"],
    ["generate cat --window 0x4", "did you mean 4?"],
    ["generate cat --temperature ,5", "did you mean 0.5?"],
    ["generate cat --temperature 0x1", "did you mean 1?"],
    ["generate cat --size 16;9", "did you mean 16:9?"],
    ["info --images 1,0x2", "did you mean 1,2?"],
  ])("%s", async (line, hint) => {
    expect(await refusal(...line.split(" "))).toContain(hint);
  });

  test("a number with blanks around it", async () => {
    expect(await refusal("generate", "cat", "--seed", " 7")).toContain("did you mean 7?");
  });
});

test.each(Object.entries(EXAMPLES))("the examples in the help of %s are understood", async (name, lines) => {
  expect((await run(name, "--help")).said.trimEnd().endsWith(lines.join("\n  "))).toBe(true);
  const calls = lines.flatMap((line) => line.split(" && "));
  for (const call of calls) {
    const words = [...call.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
    const program = createProgram("1.2.3");
    const seen: string[] = [];
    for (const command of program.commands) command.action(() => void seen.push(command.name()));
    await program.parseAsync(["node", ...words.slice(words.indexOf("zipar"))]);
    expect(["generate", name]).toContain(seen[0]);
  }
});

test("every command has examples, and the help names the exit codes", async () => {
  expect(createProgram("1.2.3").commands.map((command) => command.name())).toEqual(Object.keys(EXAMPLES));
  expect((await run("--help")).said).toMatch(/130.*143.*129/);
});

test("a bug is told in one paragraph that asks for a report, anything else as it is", () => {
  const bug = new TypeError("x is not a function");
  expect(describeFailure(bug, false)).toMatch(
    /^zipar: [^\n]*TypeError: x is not a function[^\n]*report[^\n]*--verbose$/,
  );
  expect(describeFailure(bug, true)).toContain("program.test.ts");
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { syscall: "write" });
  expect(describeFailure(full, false)).toBe("zipar: ENOSPC: no space left on device, write");
  const known = new ZiparError({ code: "checkpoint", message: "it is damaged" });
  expect(describeFailure(known, false)).toBe("zipar: it is damaged");
});
