import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { exitCodeOf } from "../../src/cli/failure.ts";
import { writeWhole } from "../../src/system/write-whole.ts";
import { ziparErrorOf } from "../support/errors.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zipar-test-write-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const inFolder = (name: string) => join(folder, name);
const text = (name: string) => readFileSync(inFolder(name), "utf8");

describe("a file is written", () => {
  test("anew, and nothing else is left in its folder", async () => {
    await writeWhole(inFolder("a"), "new");
    expect([readdirSync(folder), text("a")]).toEqual([["a"], "new"]);
  });

  test("in the place of another, which whoever has it open still reads whole", async () => {
    writeFileSync(inFolder("a"), "old");
    const before = statSync(inFolder("a")).ino;
    await writeWhole(inFolder("a"), "new");
    expect([readdirSync(folder), text("a")]).toEqual([["a"], "new"]);
    expect(statSync(inFolder("a")).ino).not.toBe(before);
  });

  test.skipIf(process.platform === "win32").each([0o600, 0o664, 0o777])(
    "with the permissions of the one that was there: %o",
    async (mode) => {
      writeFileSync(inFolder("a"), "old");
      chmodSync(inFolder("a"), mode);
      await writeWhole(inFolder("a"), "new");
      expect([statSync(inFolder("a")).mode & 0o777, text("a")]).toEqual([mode, "new"]);
    },
  );

  test.skipIf(process.platform === "win32").each(["there", "not there"])(
    "through links, relative to their own folders, to a file that is %s",
    async (state) => {
      mkdirSync(inFolder("far"));
      if (state === "there") writeFileSync(inFolder("far/a"), "old");
      symlinkSync("b", inFolder("far/link"));
      symlinkSync("a", inFolder("far/b"));
      symlinkSync(inFolder("far/link"), inFolder("link"));
      await writeWhole(inFolder("link"), "new");
      expect(text("far/a")).toBe("new");
      expect(readlinkSync(inFolder("far/b"))).toBe("a");
      expect([readdirSync(folder), readdirSync(inFolder("far"))]).toEqual([
        ["far", "link"],
        ["a", "b", "link"],
      ]);
    },
  );

  test("by many at once, each whole", async () => {
    const texts = Array.from({ length: 30 }, (_, k) => String(k).repeat(10_000));
    await Promise.all(texts.map((data) => writeWhole(inFolder("a"), data)));
    expect(texts).toContain(text("a"));
    expect(readdirSync(folder)).toEqual(["a"]);
  });

  test.skipIf(process.platform === "win32")("into devices and pipes as they are", async () => {
    await writeWhole("/dev/null", "new");
    expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
    execFileSync("mkfifo", [inFolder("pipe")]);
    const read = new Promise((resolve) => {
      execFile("cat", [inFolder("pipe")], (_, stdout) => resolve(stdout));
    });
    await writeWhole(inFolder("pipe"), "new");
    expect(await read).toBe("new");
    expect(statSync(inFolder("pipe")).isFIFO()).toBe(true);
  });
});

describe("a path at which nothing can be written is bad input, in words", () => {
  test.each<[string, () => string, string]>([
    ["a folder", () => "", "it is a folder"],
    ["what ends as a folder", () => "new/", "it is a folder"],
    ["a name of 300 characters", () => "x".repeat(300), "the name is too long"],
    ["a folder that is not there", () => "none/a", "its folder does not exist"],
    ["below a file", () => "file/a", "is a file, and no folder"],
    ["links in a circle", () => "circle", "links lead in a circle"],
  ])("%s", async (_, name, reason) => {
    writeFileSync(inFolder("file"), "old");
    symlinkSync("circle", inFolder("circle"));
    const path = inFolder(name());
    const error = await ziparErrorOf(() => writeWhole(path, "new"));
    expect(error.message).toContain(`cannot write ${path}: `);
    expect(error.message).toContain(reason);
    expect(exitCodeOf(error)).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(["circle", "file"]);
    expect(text("file")).toBe("old");
  });

  test.skipIf(process.getuid?.() === 0 || process.platform === "win32")(
    "a file and a folder without permission",
    async () => {
      writeFileSync(inFolder("file"), "old", { mode: 0o400 });
      chmodSync(folder, 0o500);
      for (const name of ["file", "other"]) {
        const error = await ziparErrorOf(() => writeWhole(inFolder(name), "new"));
        expect([error.message, exitCodeOf(error)]).toEqual([
          expect.stringContaining("permission is denied"),
          2,
        ]);
      }
      chmodSync(folder, 0o700);
      expect([readdirSync(folder), text("file")]).toEqual([["file"], "old"]);
    },
  );
});

describe("a machine that cannot is a failure, in words", () => {
  test.runIf(existsSync("/dev/full"))("a device that is full", async () => {
    const error = await ziparErrorOf(() => writeWhole("/dev/full", "new", "--svg /dev/full"));
    expect(error.message).toBe(
      "--svg /dev/full: no space is left on its disk; free some, or write elsewhere",
    );
    expect([error.code, error.details.systemCode, exitCodeOf(error)]).toEqual(["image-output", "ENOSPC", 1]);
  });

  test("a full disk leaves the file of that name, and nothing else", async ({ skip }) => {
    if (!mounted("size=64k")) skip("no file system can be mounted here");
    try {
      writeFileSync(inFolder("a"), "old");
      for (const name of ["a", "b"]) {
        const error = await ziparErrorOf(() => writeWhole(inFolder(name), Buffer.alloc(100_000, 1)));
        expect([error.message, exitCodeOf(error)]).toEqual([expect.stringContaining("no space is left"), 1]);
      }
      expect([readdirSync(folder), text("a")]).toEqual([["a"], "old"]);
    } finally {
      execFileSync("umount", [folder]);
    }
  });

  test("a file system that is read-only", async ({ skip }) => {
    if (!mounted("ro")) skip("no file system can be mounted here");
    try {
      const error = await ziparErrorOf(() => writeWhole(inFolder("a"), "new"));
      expect([error.message, exitCodeOf(error)]).toEqual([expect.stringContaining("is read-only"), 1]);
    } finally {
      execFileSync("umount", [folder]);
    }
  });
});

function mounted(options: string): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
