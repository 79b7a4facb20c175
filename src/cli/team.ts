import type { EngineOptions } from "../api/engine-options.ts";
import { ZiparError } from "../errors.ts";
import { parseListenAddress } from "../worker/remote/listen-address.ts";
import { pick, type ValuesOf } from "./option.ts";
import { type LOADED, REMOTE, type TEAM } from "./options.ts";

type TeamOptions = ValuesOf<typeof REMOTE & typeof TEAM & Pick<typeof LOADED, "device" | "tensorParallel">>;

/** Devices that leave the choice of GPUs to us. */
const CHOSEN_BY_US: ReadonlySet<string> = new Set(["auto", "cpu", "cuda"]);

/** What cannot go together, with what to say then. */
export function teamProblems(options: TeamOptions): readonly (readonly [boolean, string])[] {
  const isLocal = options.listen === undefined;
  const needsListen = (option: string) =>
    `${option} belongs to --listen, which says where to wait for a worker`;
  const { device, devices, workers, tensorParallel } = options;
  return [
    [
      devices !== undefined && workers !== undefined,
      "--devices says how many workers there are already; leave --workers out",
    ],
    [
      devices !== undefined && (device !== "auto" || !isLocal),
      `--devices stands in the place of ${isLocal ? "--device" : "--listen"}; leave one of them out`,
    ],
    [
      tensorParallel !== undefined && !CHOSEN_BY_US.has(device),
      `--tensor-parallel chooses the GPUs; leave --device ${device} out, or name all: --device cuda:0+cuda:1`,
    ],
    [
      tensorParallel !== undefined && typeof devices === "object",
      "--devices says over which devices each model is split, cuda:0+cuda:1,cuda:2+cuda:3; leave --tensor-parallel out",
    ],
    [
      tensorParallel !== undefined && !isLocal,
      "with --listen the workers say over how many devices they are, zipar worker --tensor-parallel; leave it out here",
    ],
    [isLocal && options.keys !== undefined, needsListen("--keys")],
    [isLocal && options.tokenFile !== undefined, needsListen("--token-file")],
    [isLocal && options.insecurePlaintext === true, needsListen("--insecure-plaintext")],
    [isLocal && typeof workers === "object", needsListen("--workers MIN:MAX")],
  ];
}

/** @throws ZiparError `invalid-options` where others could read what is sent and nobody said that they may */
export function checkListen({ listen, keys, insecurePlaintext }: TeamOptions): void {
  if (listen === undefined) return;
  const { isLoopback, endpoint } = parseListenAddress(listen, "--listen");
  if (keys !== undefined || isLoopback || insecurePlaintext) return;
  throw new ZiparError({
    code: "invalid-options",
    message:
      `--listen ${endpoint} without --keys: plain TCP would show everything to everybody on the way; add --keys FOLDER ` +
      "(`zipar keys` makes them), listen on a loopback address behind a tunnel, or say --insecure-plaintext",
  });
}

/** The workers of an engine and where they are, as `createEngine` takes them. */
export function teamOf(
  options: TeamOptions,
): Pick<EngineOptions, "device" | "devices" | "workers" | "tensorParallel" | "worker"> {
  const { device, devices, workers } = options;
  const { listen, ...access } = pick(REMOTE, options);
  if (listen !== undefined) {
    const counts = typeof workers === "object" ? workers : { min: workers };
    return { device, worker: { listen, ...access, ...counts } };
  }
  return {
    device: devices === undefined ? device : undefined,
    devices,
    tensorParallel: options.tensorParallel,
    workers: workers as number | undefined,
  };
}
