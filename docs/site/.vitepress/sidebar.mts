import type { DefaultTheme } from "vitepress";

const page = (text: string, path: string): DefaultTheme.SidebarItem => ({ text, link: `/${path}` });

/** Every page of the site; a test holds that none is missing. */
export const sidebar: DefaultTheme.SidebarItem[] = [
  {
    text: "Start",
    items: [
      page("Overview", "README"),
      page("Five minutes to a picture", "docs/getting-started"),
      page("The command line", "docs/command-line"),
      page("Pictures and their settings", "docs/pictures"),
      page("Changelog", "CHANGELOG"),
    ],
  },
  {
    text: "Models",
    items: [
      page("Models", "docs/models/README"),
      page("LlamaGen", "docs/models/llamagen"),
      page("Emu3-Gen", "docs/models/emu3"),
      page("Emu3.5", "docs/models/emu3-5"),
      page("Lumina-mGPT", "docs/models/lumina-mgpt"),
      page("Lumina-mGPT 2.0", "docs/models/lumina-mgpt-2"),
      page("Janus-Pro", "docs/models/janus"),
      page("Liquid", "docs/models/liquid"),
      page("Anole", "docs/models/anole"),
      page("SimpleAR", "docs/models/simplear"),
      page("STAR", "docs/models/star"),
      page("The demo checkpoint", "checkpoints/demo/README"),
      page("Checkpoints of trainers", "docs/checkpoints"),
      page("Adding a family", "docs/adding-a-family"),
    ],
  },
  {
    text: "In an application",
    items: [
      page("HTTP server", "docs/server"),
      page("Studio", "docs/studio"),
      page("AI SDK", "docs/ai-sdk"),
      page("Next.js, Express, Electron", "docs/frameworks"),
      page("Docker", "docs/docker"),
      page("Packaging", "docs/packaging"),
      page("Tests without a model", "docs/testing-schedules"),
    ],
  },
  {
    text: "Machines",
    items: [
      page("Devices, memory, threads", "docs/machines"),
      page("Several workers", "docs/several-workers"),
      page("Workers on other machines", "docs/remote-workers"),
      page("Workers on a cluster", "docs/clusters"),
      page("Faults", "docs/faults"),
      page("Check a GPU", "docs/gpu"),
      page("Performance", "docs/performance"),
    ],
  },
  {
    text: "How it works",
    items: [
      page("The algorithm", "docs/algorithm"),
      page("What windows cost", "docs/fidelity"),
      page("Locality", "docs/locality"),
      page("Traces", "docs/trace"),
      page("The wire", "proto/README"),
      page("Contributing", "CONTRIBUTING"),
      page("Rules of the house", "AGENTS"),
    ],
  },
];
