import { join } from "node:path";
import { z } from "zod";
import { ZiparError } from "../../errors.ts";
import { parseOptions } from "../../options/parse.ts";
import { LIMITS } from "../../protocol/messages.ts";
import { KEY_FILES, readPublicKeys, readSecretKey, readToken } from "./key-files.ts";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import { isCurveKey } from "./z85.ts";

/** What can be found out by trying must be too much to try. */
const MIN_TOKEN_CHARACTERS = 16;

const curveKey = z.string().refine(isCurveKey, "expected a CURVE key of 40 Z85 characters");

export const remoteSchema = z.strictObject({
  /** Where the engine waits for its worker: `tcp://ADDRESS:PORT`. Port 0 is any free one. */
  listen: z.string(),
  /** The engine's CURVE keys: the folder `engine` that `zipar keys` made, or a pair. Without them: plain TCP. */
  keys: z
    .union(
      [z.string().min(1), z.strictObject({ publicKey: curveKey, secretKey: curveKey })],
      "expected a folder, or { publicKey, secretKey }",
    )
    .optional(),
  /** Public keys of the workers that may dial in, or a folder of them; `workers` in the folder of `keys` by default. */
  clients: z
    .union([z.string().min(1), z.array(curveKey).min(1)], "expected a folder, or an array of public keys")
    .optional(),
  /** What a worker must know besides its key. By default `ZIPAR_TOKEN`, else the file `token` in the folder of `keys`. */
  token: z.string().optional(),
  /** File that holds the token. */
  tokenFile: z.string().min(1).optional(),
  /** Plain TCP beyond this machine: everybody on the way can read and change what is sent. */
  insecurePlaintext: z.boolean().default(false),
  /** Workers with which the engine begins. */
  min: z.int().min(1).max(64).default(1),
  /** Workers that may be there at the same time: more may dial in later. Default: as many as `min`. */
  max: z.int().min(1).max(64).optional(),
  /** How long to wait until a worker dials in, at the start and after a lost link. */
  waitTimeoutMs: z.int().min(1).default(600_000),
});

export type RemoteWorkerOptions = z.input<typeof remoteSchema>;
export type RemoteSettings = z.output<typeof remoteSchema> & { readonly address: ListenAddress };

/** Who may dial in. */
export interface Credentials {
  readonly token: string;
  /** Undefined: plain TCP. */
  readonly curve: { readonly secretKey: string; readonly workers: ReadonlySet<string> } | undefined;
}

/** @throws ZiparError `invalid-options` */
export function resolveRemote(input: RemoteWorkerOptions): RemoteSettings {
  const options = parseOptions(remoteSchema, input, "remoteWorker");
  const address = parseListenAddress(options.listen);
  if (options.keys === undefined) {
    if (options.clients !== undefined)
      throw invalid("`clients` without `keys`: plain TCP has no keys by which workers could be known");
    if (!address.isLoopback && !options.insecurePlaintext) {
      throw invalid(
        `plain TCP on ${address.endpoint} would show everything to everybody on the way, and let them change it; ` +
          "give `keys` (`zipar keys DIR` makes them), or listen on a loopback address behind a tunnel, " +
          "or say `insecurePlaintext: true`",
      );
    }
  }
  if (options.max !== undefined && options.max < options.min)
    throw invalid(`\`max\` = ${options.max}: expected at least \`min\`, which is ${options.min}`);
  if (typeof options.keys === "object" && options.clients === undefined)
    throw invalid("`keys` as a pair needs `clients`: the public keys of the workers that may dial in");
  return Object.freeze({ ...options, address });
}

/**
 * Reads keys and token, each time that a worker is awaited: what was added meanwhile counts.
 * @throws ZiparError `invalid-options`
 */
export function readCredentials(
  { keys, clients, token, tokenFile }: RemoteSettings,
  variables: NodeJS.ProcessEnv = process.env,
): Credentials {
  const folder = typeof keys === "string" ? keys : undefined;
  return {
    token: checkedToken(
      token ??
        (tokenFile === undefined ? undefined : readToken(tokenFile)) ??
        variables.ZIPAR_TOKEN ??
        tokenIn(folder),
    ),
    curve:
      keys === undefined ? undefined : { secretKey: secretOf(keys), workers: workersOf(clients, folder) },
  };
}

function secretOf(keys: NonNullable<RemoteSettings["keys"]>): string {
  return typeof keys === "string" ? readSecretKey(join(keys, KEY_FILES.engineSecret)) : keys.secretKey;
}

function workersOf(clients: RemoteSettings["clients"], folder: string | undefined): ReadonlySet<string> {
  if (typeof clients === "object") return new Set(clients);
  const known = clients ?? join(folder as string, KEY_FILES.knownWorkers);
  const keys = readPublicKeys(known);
  if (keys.length > 0) return new Set(keys);
  throw invalid(
    `${known} holds no *.public file, so no worker could dial in; copy the workers' public keys there`,
  );
}

function tokenIn(folder: string | undefined): string {
  if (folder !== undefined) return readToken(join(folder, KEY_FILES.token));
  throw invalid("a remote worker needs a token: give `token` or `tokenFile`, or set ZIPAR_TOKEN");
}

function checkedToken(token: string): string {
  if (token.length >= MIN_TOKEN_CHARACTERS && token.length <= LIMITS.tokenCharacters) return token;
  throw invalid(
    `expected a token of ${MIN_TOKEN_CHARACTERS} to ${LIMITS.tokenCharacters} characters, received ${token.length}`,
  );
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message: `remoteWorker: ${message}` });
}
