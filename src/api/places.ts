import { ZiparError } from "../errors.ts";
import type { ResolvedEngineOptions } from "./engine-options.ts";

/** Where the workers of an engine are opened, and with how many of them it begins. */
export interface Places {
  /** A device for each worker, or several with "+" between them for one whose model is split. */
  readonly devices: readonly string[];
  readonly min: number;
}

/** @throws ZiparError `invalid-options`, `device`, `python-environment` */
export async function placesOf(options: ResolvedEngineOptions): Promise<Places> {
  const { device, devices, workers, tensorParallel, worker } = options;
  if (worker.count !== undefined) {
    if (devices !== undefined || workers !== undefined || tensorParallel !== undefined)
      throw invalid(
        "a remote worker says itself where it runs (`zipar worker --device`, `--tensor-parallel`), and `min` and `max` beside " +
          "`listen` how many there are; leave `devices`, `workers` and `tensorParallel` out",
      );
    return { devices: new Array<string>(worker.count.max).fill(device), min: worker.count.min };
  }
  if (devices === undefined) return everyOne(await splitDevices(device, tensorParallel, workers));
  if (workers !== undefined || device !== "auto")
    throw invalid("`devices` says how many workers there are, and where; leave `device` and `workers` out");
  if (devices === "all") return everyOne(await allGpus(tensorParallel));
  if (tensorParallel !== undefined)
    throw invalid(
      '`devices` says over which devices each model is split, [["cuda:0", "cuda:1"]]; leave `tensorParallel` out',
    );
  return everyOne(devices);
}

/**
 * The device of each of `workers` workers: groups of different GPUs where a model is split over `size` devices.
 * @throws ZiparError `invalid-options`, `device`, `python-environment`
 */
export async function splitDevices(device: string, size = 1, workers = 1): Promise<readonly string[]> {
  const everywhere = (place: string) => new Array<string>(workers).fill(place);
  if (size === 1) return everywhere(device);
  if (device !== "auto" && device !== "cpu" && device !== "cuda")
    throw invalid(`\`tensorParallel\` chooses the GPUs; leave "${device}" out, or name all: "cuda:0+cuda:1"`);
  const { gpus, problem } = device === "cpu" ? NO_GPUS : await usableGpus();
  if (device === "cpu" || (device === "auto" && gpus.length === 0))
    return everywhere(new Array(size).fill("cpu").join("+"));
  if (gpus.length >= workers * size) return groups(gpus.slice(0, workers * size), size);
  const found = gpus.length > 0 ? `PyTorch can use ${gpus.length} here` : problem;
  throw new ZiparError({
    code: "device",
    message: `${workers * size} GPUs are needed for a model over ${size} of them${workers > 1 ? `, ${workers} times` : ""}: ${found}`,
  });
}

async function allGpus(size = 1): Promise<readonly string[]> {
  const { gpus, problem } = await usableGpus();
  const message =
    gpus.length === 0
      ? `\`devices: "all"\` means all CUDA devices that can be used: ${problem}`
      : gpus.length % size !== 0
        ? `the ${gpus.length} GPUs here are not in groups of ${size}; name those that are meant: \`devices: [["cuda:0", "cuda:1"]]\``
        : undefined;
  if (message !== undefined) throw new ZiparError({ code: "device", message });
  return groups(gpus, size);
}

/** Names in groups of `size`, of which there is a multiple. */
function groups(names: readonly string[], size: number): readonly string[] {
  return names.flatMap((_, k) => (k % size === 0 ? [names.slice(k, k + size).join("+")] : []));
}

const NO_GPUS = { gpus: [], problem: "" };

/** The CUDA devices that the installed PyTorch can use; where there are none, why. */
async function usableGpus(): Promise<{ readonly gpus: readonly string[]; readonly problem: string }> {
  const { requirePython } = await import("../python/environment.ts"); // not before: importing zipar stays quick
  const { probePython } = await import("../python/probe.ts");
  const { cudaDevices, gpuProblem } = await probePython(requirePython());
  const gpus = cudaDevices.flatMap(({ problem }, index) => (problem === null ? [`cuda:${index}`] : []));
  const problem = gpuProblem === null ? "PyTorch finds none" : `${gpuProblem.found}. ${gpuProblem.remedy}`;
  return { gpus, problem };
}

function everyOne(devices: readonly string[]): Places {
  return { devices, min: devices.length };
}

export function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message: `createEngine: ${message}` });
}
