/**
 * `npm run docs`: the Markdown of the repository as a site. A page has the address of its file, so that links work here as
 * they do in a clone; VitePress fails for a link to a page that is not there.
 */
import { cpSync, existsSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitepress";
import { githubSlug } from "./github-slug.mts";
import { sidebar } from "./sidebar.mts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
/** Where files that are no pages have their place on the site. */
const FILES = "/files/";
const linked = new Set<string>();

export default defineConfig({
  title: "zipar",
  description: "Images from native PyTorch autoregressive checkpoints, fast, from TypeScript",
  srcDir: "../..",
  srcExclude: [
    ".setup/**",
    "bench/**",
    "*-output/**",
    "dist/**",
    "docs/api/**",
    "examples/**",
    "python-worker/**",
    "scripts/**",
    "src/**",
    "studio/**",
    "test/**",
  ],
  outDir: "../../docs-output",
  cacheDir: "../../.setup/vitepress",
  rewrites: { "docs/site/index.md": "index.md" },
  cleanUrls: true,
  // VitePress lets the blocks of code scroll that name a language, and no other.
  head: [["style", {}, ".vp-doc pre { overflow-x: auto }"]],
  themeConfig: {
    nav: [
      { text: "Start", link: "/docs/getting-started" },
      { text: "Server", link: "/docs/server" },
      { text: "API", link: "/api/", target: "_self" },
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: "local" },
  },
  markdown: {
    anchor: { slugify: githubSlug },
    config(markdown) {
      const open = markdown.renderer.rules.link_open;
      if (open === undefined) throw new Error("VitePress has no rule for links any more");
      markdown.renderer.rules.link_open = (tokens, index, options, env, self) => {
        const token = tokens[index];
        const place = token && placeOf(token.attrGet("href") ?? "", env.relativePath);
        if (token !== undefined && place !== undefined) {
          token.attrSet("href", place);
          token.attrSet("target", "_self"); // VitePress takes it for no page
        }
        return open(tokens, index, options, env, self);
      };
    },
  },
  buildEnd({ outDir }) {
    for (const path of linked) cpSync(join(root, path), join(outDir, FILES, path));
  },
});

/** Of a link to a file of the repository that is no page; undefined for all others, which VitePress judges. */
function placeOf(href: string, page: string): string | undefined {
  if (/^([a-z]+:|\/|#)/i.test(href) || /\.md(#|$)/.test(href)) return undefined;
  const path = posix.join(posix.dirname(page), href.replace(/#.*/, ""));
  if (!existsSync(join(root, path)) || !statSync(join(root, path)).isFile()) return undefined;
  linked.add(path);
  return FILES + path;
}
