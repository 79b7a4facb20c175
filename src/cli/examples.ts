/** Two command lines for each command, at the end of its help. Each one works as it stands where its files are. */
export const EXAMPLES = {
  generate: [
    "zipar generate lighthouse --seed 7 --out lighthouse.png",
    'zipar generate "a lighthouse at dusk" --model BAAI/Emu3-Gen --size 16:9 --count 4 --out pictures/',
  ],
  info: ["zipar info", "zipar info --model BAAI/Emu3-Gen --images 1,16 --json"],
  plan: [
    "zipar plan --rows 16 --columns 24 --window 4 --svg wavefront.svg",
    "zipar plan --rows 90 --columns 90 --window 7 --row-end token --json",
  ],
  trace: [
    "zipar generate cat --window adaptive:2 --trace cat.jsonl && zipar trace cat.jsonl",
    "zipar trace cat.jsonl --check --png cat-trace.png",
  ],
  demo: ["zipar demo", "zipar demo --out pictures/ --seed 20 --device cpu"],
  eval: [
    "zipar eval --windows full,8,4,adaptive:2 --samples-per-class 4",
    "zipar eval --windows full --lookahead 16 --classes 0,3 --json",
  ],
  profile: [
    "zipar profile",
    'zipar profile --model BAAI/Emu3-Gen --prompt "a lighthouse" "a cat" --samples 4',
  ],
  serve: [
    "zipar serve --model demo",
    "zipar serve --model demo --model emu3=BAAI/Emu3-Gen --load demand --memory-budget 40",
  ],
  worker: [
    "zipar worker --connect tcp://10.0.0.5:5555 --keys worker",
    "ZIPAR_TOKEN=... zipar worker --connect tcp://127.0.0.1:5555 --device cuda:0",
  ],
  keys: ["zipar keys keys", "zipar keys keys --worker second"],
  setup: ["zipar setup", "UV_TORCH_BACKEND=cpu zipar setup --force"],
  doctor: ["zipar doctor", "zipar doctor --json"],
} as const satisfies Readonly<Record<string, readonly [string, string]>>;
