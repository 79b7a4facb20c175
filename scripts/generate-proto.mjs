/**
 * Writes proto/protocol.schema.json and proto/golden/*.json from the built src/protocol.
 * `--check` writes nothing and fails when the committed files differ.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const proto = join(root, "proto");

const files = await generateFiles();
const stale = [...changedFiles(files), ...surplusGolden(files)];
if (process.argv.includes("--check")) {
  if (stale.length > 0) {
    console.error(
      `proto/ does not follow from src/protocol: ${stale.map((path) => relative(root, path)).join(", ")}. ` +
        "Run `npm run build && node scripts/generate-proto.mjs` and commit what it writes.",
    );
    process.exit(1);
  }
  console.log(`proto/ follows from src/protocol (${files.size} files).`);
} else {
  for (const path of surplusGolden(files)) rmSync(path);
  for (const [path, text] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  console.log(`${files.size} files in proto/, ${stale.length} of them changed.`);
}

async function generateFiles() {
  const { goldenMessages } = await import("./golden-messages.mjs");
  const { describeProtocol, encodeGolden } = await load();
  const files = new Map([[join(proto, "protocol.schema.json"), toText(describeProtocol())]]);
  for (const example of goldenMessages) {
    files.set(join(proto, "golden", `${example.name}.json`), toText(encodeGolden(example)));
  }
  return files;
}

/** The protocol as this build has it. */
async function load() {
  if (!existsSync(join(root, "dist", "protocol", "messages.js"))) {
    console.error("dist/ is missing; run `npm run build` first.");
    process.exit(1);
  }
  const { z } = await import("zod");
  const messages = await import("../dist/protocol/messages.js");
  const { encodeMessage } = await import("../dist/protocol/codec.js");
  return {
    describeProtocol: () => ({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      title: `zipar protocol, version ${messages.PROTOCOL_VERSION}`,
      description:
        "Headers of all messages between the SDK and a worker. Generated from src/protocol/messages.ts.",
      oneOf: [{ $ref: "#/$defs/request" }, { $ref: "#/$defs/reply" }],
      $defs: {
        request: { description: "SDK to worker.", ...schemaOf(z, messages.requestSchema) },
        reply: { description: "Worker to SDK.", ...schemaOf(z, messages.replySchema) },
      },
    }),
    encodeGolden: ({ name, direction, header, arrays }) => {
      const schema = direction === "request" ? messages.requestSchema : messages.replySchema;
      const described = arrays.map(({ name: array, data, shape }) => ({
        name: array,
        dtype: data.constructor.name.replace("Array", "").toLowerCase(),
        shape: shape ?? [data.length],
      }));
      const message = schema.parse({ ...header, frames: described });
      const { frames: _, ...fields } = message;
      const [headerBytes, ...frameBytes] = encodeMessage(fields, arrays).map((part) => Buffer.from(part));
      return {
        name,
        direction,
        headerHex: headerBytes.toString("hex"),
        frames: described.map((frame, k) => ({ ...frame, hex: frameBytes[k].toString("hex") })),
        message,
      };
    },
  };
}

function schemaOf(z, schema) {
  const { $schema: _, ...described } = z.toJSONSchema(schema);
  return described;
}

function changedFiles(files) {
  return [...files]
    .filter(([path, text]) => !existsSync(path) || readFileSync(path, "utf8") !== text)
    .map(([path]) => path);
}

/** Golden messages of types that are no more. */
function surplusGolden(files) {
  const directory = join(proto, "golden");
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .map((file) => join(directory, file))
    .filter((path) => !files.has(path));
}

function toText(value) {
  return `${JSON.stringify(value, null, 2)}\n`;
}
