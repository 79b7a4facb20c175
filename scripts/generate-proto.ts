/**
 * `npm run proto`: writes proto/protocol.schema.json and proto/golden/*.json from src/protocol.
 * `--check` writes nothing and fails when the committed files differ.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { z } from "zod";
import { encodeMessage } from "#zipar/protocol/codec";
import * as protocol from "#zipar/protocol/messages";
import { packageRoot } from "#zipar/python/location";
import { type GoldenMessage, goldenMessages } from "./golden-messages.ts";

const proto = join(packageRoot, "proto");
const golden = join(proto, "golden");
const files = new Map([
  [join(proto, "protocol.schema.json"), toText(describeProtocol())],
  ...goldenMessages.map(
    (message) => [join(golden, `${message.name}.json`), toText(encodeGolden(message))] as const,
  ),
]);
const changed = [...files].filter(([path, text]) => readText(path) !== text).map(([path]) => path);
/** Golden messages of types that are no more. */
const surplus = existsSync(golden)
  ? readdirSync(golden)
      .map((file) => join(golden, file))
      .filter((path) => !files.has(path))
  : [];
if (process.argv.includes("--check")) check();
else write();

function check(): void {
  const stale = [...changed, ...surplus].map((path) => relative(packageRoot, path));
  if (stale.length === 0) {
    console.log(`proto/ follows from src/protocol (${files.size} files).`);
    return;
  }
  console.error(
    `proto/ does not follow from src/protocol: ${stale.join(", ")}. Run \`npm run proto\` and commit what it writes.`,
  );
  process.exitCode = 1;
}

function write(): void {
  for (const path of surplus) rmSync(path);
  for (const [path, text] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  console.log(`${files.size} files in proto/, ${changed.length + surplus.length} of them changed.`);
}

/** The headers of all messages; what several of them hold is described once, under its name. */
function describeProtocol(): object {
  const message = z.union([protocol.requestSchema, protocol.replySchema]);
  const { $schema, ...described } = z.toJSONSchema(message, { metadata: schemaNames() });
  return {
    $schema,
    title: `zipar protocol, version ${protocol.PROTOCOL_VERSION}`,
    description:
      "Headers of all messages between the SDK and a worker. Generated from src/protocol/messages.ts.",
    ...described,
  };
}

function schemaNames() {
  const { requestSchema, replySchema } = protocol;
  const names = z.registry<{ id: string; description?: string }>();
  names.add(requestSchema, { id: "request", description: "SDK to worker." });
  names.add(replySchema, { id: "reply", description: "Worker to SDK." });
  for (const schema of [...requestSchema.options, ...replySchema.options])
    names.add(schema, { id: schema.shape.type.value });
  names.add(protocol.frameSchema, { id: "frame" });
  names.add(protocol.sourceSchema, { id: "source" });
  names.add(protocol.initSchema.shape.model, { id: "model" });
  names.add(protocol.modelCardSchema, { id: "model-card" });
  names.add(protocol.fatalSchema.shape.error, { id: "failure" });
  return names;
}

function encodeGolden({ name, direction, header, arrays }: GoldenMessage): object {
  const schema = direction === "request" ? protocol.requestSchema : protocol.replySchema;
  const described = arrays.map(({ name: array, data, shape }) => ({
    name: array,
    dtype: data.constructor.name.replace("Array", "").toLowerCase(),
    shape: shape ?? [data.length],
  }));
  const message = schema.parse({ ...header, frames: described });
  const { frames: _, ...fields } = message;
  const [encoded, ...parts] = encodeMessage(fields, arrays).map((part) => Buffer.from(part).toString("hex"));
  return {
    name,
    direction,
    headerHex: encoded,
    frames: described.map((frame, k) => ({ ...frame, hex: parts[k] })),
    message,
  };
}

function readText(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

function toText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
