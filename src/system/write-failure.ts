import { reasonOf, ZiparError, type ZiparErrorCode } from "../errors.ts";

/** What the system's codes mean for somebody who wants a file, and what to do. */
const REASONS: Readonly<Record<string, string | undefined>> = {
  ENOSPC: "no space is left on its disk; free some, or write elsewhere",
  EDQUOT: "the disk quota is used up; free some space, or write elsewhere",
  EFBIG: "it is larger than files may be here; raise the limit (ulimit -f), or write elsewhere",
  EIO: "the disk reports an input/output error; look at the disk, or write elsewhere",
  EROFS: "its file system is read-only; write elsewhere",
  ESTALE: "the network file system has lost it; mount it anew, or write elsewhere",
  EMFILE: "this process has too many files open; raise the limit (ulimit -n)",
  ENFILE: "this machine has too many files open; close some",
  ENOMEM: "the system has no memory left; free some",
  EACCES: "permission is denied; choose a file and a folder that you may write to",
  EPERM: "the system does not permit it; choose a file and a folder that you may write to",
  ENOENT: "its folder does not exist, or takes no files; make it first, or name another",
  ENOTDIR: "a part of its path is a file, and no folder; name another path",
  EEXIST: "a file of that name is there; choose another name",
  EISDIR: "it is a folder; name a file",
  ENAMETOOLONG: "the name is too long; choose a shorter one",
  EINVAL: "the file system does not take this name; choose another",
  EILSEQ: "the file system does not take this name; choose another",
  ELOOP: "its symbolic links lead in a circle; name the file itself",
  EBUSY: "another program holds it; close that, or write elsewhere",
  ETXTBSY: "another program holds it; close that, or write elsewhere",
  ENXIO: "nobody listens at it; name a file",
  EPIPE: "its reader has gone",
};

/** What the machine lacks, whatever is asked for. */
const OF_THE_MACHINE: ReadonlySet<unknown> = new Set(
  "ENOSPC EDQUOT EFBIG EIO EROFS ESTALE EMFILE ENFILE ENOMEM".split(" "),
);

/** A file that could not be written, as one paragraph; `details.systemCode` is what the system calls it. */
export function writeFailure(
  what: string,
  cause: unknown,
  code: ZiparErrorCode = "image-output",
): ZiparError {
  const systemCode = (cause as NodeJS.ErrnoException | undefined)?.code;
  const reason = REASONS[systemCode ?? ""] ?? reasonOf(cause);
  return new ZiparError({ code, message: `${what}: ${reason}`, details: { systemCode }, cause });
}

/** Whether an error tells of the machine, so that nothing is wrong with what was asked for. */
export function isMachineFailure({ details }: ZiparError): boolean {
  return OF_THE_MACHINE.has(details.systemCode);
}
