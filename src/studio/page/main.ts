import type { ClientModel } from "../events.ts";
import { readTraceFile } from "../trace-file.ts";
import { bodiesOf, comparedWith, type Field, type RequestBody } from "../wish.ts";
import { fetchModels } from "./api.ts";
import { byId, setText } from "./element.ts";
import { Form } from "./form.ts";
import { Gallery } from "./gallery.ts";
import type { KeptPicture } from "./gallery-store.ts";
import { Run } from "./run.ts";
import { Stage } from "./stage.ts";

const POLL_MS = 1500;
const LARGEST_TRACE_BYTES = 256 << 20;
/** Fields of a request, as the form calls them, so that a refusal shows beside its field. */
const FIELDS: Readonly<Record<string, Field>> = {
  model: "model",
  prompt: "prompt",
  class_label: "prompt",
  negative_prompt: "negativePrompt",
  size: "size",
  window: "windowSize",
  lookahead: "lookahead",
  guidance_scale: "guidanceScale",
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
  seed: "seed",
};

const form = new Form();
const stage = new Stage({ useAgain: ({ body }) => use(body), retry });
const gallery = new Gallery({ show: showKept, useAgain: ({ body }) => use(body) });
let polling: ReturnType<typeof setTimeout> | undefined;

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  make();
});
byId("cancel").addEventListener("click", () => {
  for (const run of stage.runs) run.cancel();
});
byId("again").addEventListener("click", () => {
  const seed = stage.runs.find((run) => run.seed !== undefined)?.seed;
  if (seed !== undefined) form.write({ ...form.read(), seed: String(seed) });
});
byId("compare").addEventListener("submit", (event) => {
  event.preventDefault();
  compare(byId<HTMLSelectElement>("with").value);
});
byId("open-trace").addEventListener("click", () => byId("trace-file").click());
byId("trace-file").addEventListener("change", () => {
  const input = byId<HTMLInputElement>("trace-file");
  void playTrace(input.files?.[0]);
  input.value = "";
});
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.dataset["dropping"] = "true";
});
for (const type of ["dragleave", "drop"] as const)
  document.addEventListener(type, () => delete document.body.dataset["dropping"]);
document.addEventListener("drop", (event) => {
  event.preventDefault();
  void playTrace(event.dataTransfer?.files[0]);
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void refreshModels();
});
void refreshModels();
void gallery.refresh();

function make(): void {
  if (!form.check()) return;
  const bodies = bodiesOf(form.read(), form.model?.card ?? null, randomSeed);
  stage.replace(bodies.map((body) => Run.make(form.title, body, changed)));
  tell(`Making ${form.title}`);
  if (matchMedia("(max-width: 860px)").matches) byId("stage").scrollIntoView({ behavior: "smooth" });
  showState();
}

/** Beside the first that is on the stage, with its prompt and seed. */
function compare(choice: string): void {
  const first = stage.runs.find(({ body }) => body !== undefined);
  if (first?.body === undefined) return;
  stage.add(Run.make(first.title, comparedWith(first.body, choice, randomSeed), changed));
  showState();
}

function retry(run: Run): void {
  if (run.body === undefined) return;
  stage.exchange(run, Run.make(run.title, run.body, changed));
  void refreshModels();
  showState();
}

function use(body: RequestBody | undefined): void {
  if (body !== undefined) form.useAgain(body);
}

/** Of a run that is shown again, more pixels are there. */
function redraw(): void {
  stage.redraw();
}

function changed(run: Run): void {
  const wasMaking = !byId("cancel").hidden;
  stage.redraw();
  showState();
  if (!run.isOver || finished.has(run)) return;
  finished.add(run);
  const { phase, failure, steps } = run.decoding;
  if (phase === "finished") void gallery.keep(run);
  if (wasMaking) tell(failure?.message ?? `${run.title}: ${phase}, ${steps.length} forwards`);
  if (failure === undefined) return;
  const field = FIELDS[failure.param?.replace(/^zipar\./, "") ?? ""];
  if (field !== undefined) form.showProblem(field, failure.message);
  void refreshModels();
}

const finished = new WeakSet<Run>();

function showKept({ title, body, events, data }: KeptPicture): void {
  if (isTaken()) return;
  stage.replace([Run.recorded(title, body, events, data, redraw)]);
  byId("stage").scrollIntoView({ behavior: "smooth", block: "nearest" });
  showState();
}

async function playTrace(file: File | undefined): Promise<void> {
  if (file === undefined) return;
  if (isTaken()) return;
  try {
    if (file.size > LARGEST_TRACE_BYTES)
      throw new Error(`It is larger than ${LARGEST_TRACE_BYTES >> 20} MiB.`);
    const events = readTraceFile(await file.text());
    const [start] = events;
    const prompt =
      start?.type === "start" && start.conditioning.type === "text" ? start.conditioning.prompt : undefined;
    stage.replace([Run.recorded(prompt ?? file.name, undefined, events, undefined, redraw)]);
    showState();
    byId("play").click();
  } catch (error) {
    tell(`${file.name} cannot be played. ${error instanceof Error ? error.message : String(error)}`, true);
  }
}

/** Asks for the models; again and again while one is loading or the server cannot be reached. */
async function refreshModels(): Promise<void> {
  clearTimeout(polling);
  try {
    const models = await fetchModels();
    form.setModels(models);
    showServer(models);
    if (models.some(({ state }) => state === "loading")) polling = setTimeout(refreshModels, POLL_MS);
  } catch (error) {
    const text = error instanceof TypeError ? "Not reachable" : String((error as Error).message);
    Object.assign(byId("server").dataset, { state: "failed" });
    setText(byId("server"), text);
    polling = setTimeout(refreshModels, POLL_MS);
  }
}

function showServer(models: readonly ClientModel[]): void {
  const model = form.model ?? models[0];
  const { state, progress } = model ?? {};
  const share = progress?.total ? ` ${Math.floor((100 * progress.completed) / progress.total)} %` : "";
  const words = {
    ready: `${model?.name} on ${model?.card?.device}`,
    loading: `Loading ${model?.name}${share}`,
    failed: `${model?.name} could not be loaded`,
    "not-loaded": `${model?.name} loads with the first picture`,
  };
  byId("server").dataset["state"] = state;
  setText(byId("server"), state === undefined ? "" : words[state]);
}

/** What can be done now. */
function showState(): void {
  const { isBusy } = stage;
  byId("cancel").hidden = !isBusy;
  byId<HTMLButtonElement>("again").disabled = !stage.runs.some(({ seed }) => seed !== undefined);
  byId("make").hidden = isBusy;
  document.body.dataset["busy"] = String(isBusy);
  // A model that loads when it is first asked for has its card once it is loaded.
  const hasBegun = stage.runs.some(({ decoding }) => decoding.start !== undefined);
  if (hasBegun && form.model?.card === null) void refreshModels();
}

/** For everybody by ear, and by eye where it is bad news. */
function tell(text: string, isBad = false): void {
  const news = byId("news");
  setText(news, text);
  news.classList.toggle("unseen", !isBad);
}

/** A picture that is being made stays on the stage. */
function isTaken(): boolean {
  if (stage.isBusy) tell("A picture is being made; cancel it, or wait for it.", true);
  return stage.isBusy;
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}
