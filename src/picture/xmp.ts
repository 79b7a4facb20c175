/** XMP (ISO 16684-1): what WebP and JPEG carry beside their pixels. */
const SETTINGS = "zipar:settings";

/**
 * A packet with a description for people, the program, and zipar's settings.
 * @param settings ASCII without line ends
 */
export function xmpPacket(settings: string, description: string, program: string): string {
  return [
    '<?xpacket begin="\uFEFF" id="W5M0MpCehiHzreSzNTczkc9d"?>',
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"' +
      ` xmlns:zipar="urn:zipar:picture/" xmp:CreatorTool="${escaped(program)}" ${SETTINGS}="${escaped(settings)}">`,
    `<dc:description><rdf:Alt><rdf:li xml:lang="x-default">${escaped(description)}</rdf:li></rdf:Alt></dc:description>`,
    "</rdf:Description></rdf:RDF></x:xmpmeta>",
    '<?xpacket end="r"?>',
  ].join("\n");
}

/** The settings in a packet, as an attribute or, where another program has written it anew, as an element. */
export function readXmpSettings(packet: string): string | undefined {
  const [, attribute, quoted, element] =
    /zipar:settings\s*=\s*(?:"([^"]*)"|'([^']*)')|<zipar:settings>([^<]*)</.exec(packet) ?? [];
  const text = attribute ?? quoted ?? element;
  return text?.replace(/&(?:#(\d{1,6})|#x([\da-f]{1,6})|(\w{2,4}));/gi, (entity, decimal, hex, name) =>
    name === undefined
      ? String.fromCharCode(decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal))
      : (ENTITIES[name] ?? entity),
  );
}

const ENTITIES: Readonly<Record<string, string | undefined>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/** Controls are out of both texts already; two more characters XML does not know. */
function escaped(text: string): string {
  return text.replace(/[\uFFFE\uFFFF]/g, " ").replace(/[&<>"]/g, (character) => `&${NAMES[character]};`);
}

const NAMES: Readonly<Record<string, string>> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot" };
