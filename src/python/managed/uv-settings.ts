import type { Variables } from "../isolation.ts";

/** pip's settings by option name, as `pip config list` shows them. */
export type PipSettings = Readonly<Record<string, string>>;

/** Pure. Lines such as `global.index-url='...'` and `:env:.index-url='...'`; the environment's come last and win. */
export function parsePipConfig(text: string): PipSettings {
  const settings: Record<string, string> = {};
  for (const line of text.split(/\r?\n/)) {
    const match = /^(?:global|install|:env:)\.([a-z-]+)=(['"])(.*)\2$/.exec(line.trim());
    if (match?.[1] && match[3] !== undefined) settings[match[1]] = match[3].replaceAll("\\n", "\n").trim();
  }
  return settings;
}

/** Pure. `PIP_INDEX_URL` is pip's option `index-url`. */
export function pipVariables(variables: Variables): PipSettings {
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(variables))
    if (name.startsWith("PIP_") && value) settings[name.slice(4).toLowerCase().replaceAll("_", "-")] = value;
  return settings;
}

export interface UvSettings {
  readonly variables: Readonly<Record<string, string>>;
  readonly parameters: readonly string[];
}

export interface UvSettingsInput {
  readonly pip: PipSettings;
  readonly variables: Variables;
  readonly uvHasConfigFile: boolean;
  /** Whether a local folder is there: pip passes over a missing one, uv refuses it. */
  readonly folderExists: (path: string) => boolean;
}

const uvIndexVariables = [
  "UV_DEFAULT_INDEX",
  "UV_INDEX_URL",
  "UV_INDEX",
  "UV_EXTRA_INDEX_URL",
  "UV_FIND_LINKS",
];

const proxyVariables = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

/**
 * Pure. uv does not read pip's settings. A machine that is set up for pip alone (a company's index, a folder of
 * wheels, a certificate) should serve too, so they are handed to uv where uv has none of its own.
 */
export function uvSettingsFromPip({
  pip,
  variables,
  uvHasConfigFile,
  folderExists,
}: UvSettingsInput): UvSettings {
  const added: Record<string, string> = {};
  const add = (name: string, value: string | undefined) => {
    if (value && variables[name] === undefined) added[name] = value;
  };
  add("SSL_CERT_FILE", pip.cert);
  add("SSL_CLIENT_CERT", pip["client-cert"]);
  add("UV_HTTP_TIMEOUT", pip.timeout ?? pip["default-timeout"]);
  if (pip.proxy && !proxyVariables.some((name) => variables[name] || variables[name.toLowerCase()])) {
    // pip takes it for both, and forgives a missing scheme.
    const proxy = pip.proxy.includes("://") ? pip.proxy : `http://${pip.proxy}`;
    add("HTTPS_PROXY", proxy);
    add("HTTP_PROXY", proxy);
  }
  if (uvHasConfigFile || uvIndexVariables.some((name) => variables[name] !== undefined))
    return { variables: added, parameters: [] };
  const links = words(pip["find-links"]).filter((link) => link.includes("://") || folderExists(link));
  add("UV_DEFAULT_INDEX", pip["index-url"]);
  add("UV_INDEX", words(pip["extra-index-url"]).join(" "));
  add("UV_FIND_LINKS", links.join(","));
  add("UV_INSECURE_HOST", words(pip["trusted-host"]).join(" "));
  return {
    variables: added,
    parameters: /^(1|true|yes|on)$/i.test(pip["no-index"] ?? "") ? ["--no-index"] : [],
  };
}

function words(value: string | undefined): readonly string[] {
  return (value ?? "").split(/\s+/).filter((word) => word !== "");
}
