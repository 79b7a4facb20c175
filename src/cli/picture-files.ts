import { createHash } from "node:crypto";
import nodePath, { type PlatformPath } from "node:path";
import { IMAGE_ENDINGS, knownImageFormat } from "../api/image-format.ts";
import { invalidOutput, isFolder } from "./output.ts";

/** Where the pictures of a run go. */
export type PictureTarget =
  | { readonly type: "standard-output" }
  | {
      readonly type: "files";
      readonly folder: string;
      /** The folder is made where it does not exist. */
      readonly makesFolder: boolean;
      readonly files: readonly string[];
    };

export interface PictureNames {
  readonly count: number;
  /** Of the first picture; picture k has `seed + k`. */
  readonly seed: number;
  /** What is shown: a prompt, or the name or the index of a class. */
  readonly subject: string | number;
}

/**
 * What `--out` says: `-` is standard output; a folder exists, ends in a slash, or has no ending; all else is a file. Several
 * pictures of a file's name are numbered, those in a folder have names of their own.
 * @throws ZiparError `image-output`
 */
export function pictureTarget(
  out: string,
  { count, seed, subject }: PictureNames,
  paths: PlatformPath = nodePath,
): PictureTarget {
  if (out === "-") return { type: "standard-output" };
  const numbers = Array.from({ length: count }, (_, k) => k);
  const { dir, base, ext } = paths.parse(out);
  const endsInSlash = out.endsWith("/") || out.endsWith(paths.sep);
  if (!endsInSlash && !isFolder(out)) {
    if (/^\.(png|webp|jpe?g)$/i.test(base))
      throw invalidOutput(out, "the file has no name before its ending");
    if (knownImageFormat(base) !== undefined) {
      const start = out.slice(0, -ext.length);
      const files = numbers.map((k) => (count === 1 ? out : `${start}-${k + 1}${ext}`));
      return { type: "files", folder: dir === "" ? "." : dir, makesFolder: false, files };
    }
    if (ext !== "") {
      throw invalidOutput(
        out,
        `"${ext}" is no ending of a picture that zipar writes; expected ${IMAGE_ENDINGS}, or ${out}/ for a folder of that name`,
      );
    }
  }
  const name = fileName(subject);
  const files = numbers.map((k) => paths.join(out, `${name}-${seed + k}.png`));
  return { type: "files", folder: out, makesFolder: true, files };
}

const NAME_CHARACTERS = 48;

/** No two subjects share a name: one that is more than plain words has a part of its hash in it. */
function fileName(subject: string | number): string {
  if (typeof subject === "number") return `class-${subject}`;
  const words =
    subject
      .normalize("NFC")
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const name = [...words.join("-")].slice(0, NAME_CHARACTERS).join("").replace(/-$/, "");
  const isPlain = subject === name.replaceAll("-", " ") && !/^class [0-9]+$/.test(subject);
  const hash = createHash("sha256").update(subject).digest("hex").slice(0, 8);
  return isPlain ? name : [name, hash].filter((part) => part !== "").join("-");
}
