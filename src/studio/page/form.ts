import type { ClientModel } from "../events.ts";
import type { RequestBody } from "../wish.ts";
import {
  columnsOf,
  defaultWish,
  type Field,
  hasWindowSize,
  problemOf,
  type WindowKind,
  type Wish,
  wishOf,
} from "../wish.ts";
import { sizeWords } from "../words.ts";
import { byId, create, setText } from "./element.ts";

const STORED_AS = "zipar-wish";
/** More classes than this are searched by typing. */
const LISTED_CLASSES = 60;

const INPUTS: Readonly<Record<Exclude<Field, "prompt">, string>> = {
  model: "model",
  negativePrompt: "negative",
  size: "size",
  window: "window",
  windowSize: "window-size",
  lookahead: "lookahead",
  guidanceScale: "guidance",
  temperature: "temperature",
  topK: "top-k",
  topP: "top-p",
  seed: "seed",
  count: "count",
};

type Input = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** The form: it offers what the card of the chosen model knows. */
export class Form {
  #models: readonly ClientModel[] = [];
  /** The model, and whether its card was known, that the fields are made for. */
  #shown = "";

  constructor() {
    const form = byId<HTMLFormElement>("form");
    form.addEventListener("input", () => this.#changed());
    byId("model").addEventListener("change", () => this.#offer(this.read().prompt));
    byId("defaults").addEventListener("click", () => {
      const model = this.model;
      if (model === undefined) return;
      const { window: _, windowSize: __, size: ___, ...sampling } = defaultWish(model);
      this.write({
        ...this.read(),
        ...sampling,
        ...pick(this.read(), ["prompt", "negativePrompt", "seed", "count"]),
      });
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
  }

  get model(): ClientModel | undefined {
    const name = byId<HTMLSelectElement>("model").value;
    return this.#models.find((model) => model.name === name) ?? this.#models[0];
  }

  /** What the prompt says in words: the name of a class in the place of its number. */
  get title(): string {
    const select = byId<HTMLSelectElement>("class");
    if (!select.disabled) return select.selectedOptions[0]?.textContent ?? "";
    const { prompt } = this.read();
    return this.model?.card?.conditioning.type === "class" && /^\d+$/.test(prompt)
      ? `Class ${prompt}`
      : prompt;
  }

  /** Takes what the server knows; what was typed stays. */
  setModels(models: readonly ClientModel[]): void {
    this.#models = models;
    const select = byId<HTMLSelectElement>("model");
    const chosen = select.value;
    select.replaceChildren(...models.map(({ name }) => create("option", { value: name, textContent: name })));
    if (models.some(({ name }) => name === chosen)) select.value = chosen;
    byId("model-field").hidden = models.length < 2;
    const stored = this.#shown === "" ? storedWish() : undefined;
    if (stored !== undefined && models.some(({ name }) => name === stored.model)) select.value = stored.model;
    this.#offer(stored?.prompt ?? this.read().prompt, stored);
  }

  read(): Wish {
    const value = (field: keyof typeof INPUTS) => byId<HTMLInputElement>(INPUTS[field]).value;
    return {
      model: value("model"),
      prompt: this.#promptInput.value,
      negativePrompt: value("negativePrompt"),
      size: value("size"),
      window: value("window") as WindowKind,
      windowSize: value("windowSize"),
      lookahead: value("lookahead"),
      guidanceScale: value("guidanceScale"),
      temperature: value("temperature"),
      topK: value("topK"),
      topP: value("topP"),
      seed: value("seed"),
      count: value("count"),
    };
  }

  write(wish: Wish): void {
    for (const [field, id] of Object.entries(INPUTS))
      if (field !== "model") byId<HTMLInputElement>(id).value = wish[field as Field];
    this.#promptInput.value = wish.prompt;
    this.#changed();
  }

  /** Puts back what a picture was asked for. */
  useAgain(body: RequestBody): void {
    const model = this.#models.find(({ name }) => name === body["model"]);
    if (model === undefined) {
      this.showProblem("model", `There is no model ${String(body["model"])} here any more.`);
      return;
    }
    byId<HTMLSelectElement>("model").value = model.name;
    this.#offer("");
    this.write(wishOf(body, model));
    this.#promptInput.focus();
  }

  /** Shows what is wrong with the fields, if anything. */
  check(): boolean {
    const problem = problemOf(this.read(), this.model?.card ?? null);
    if (problem === undefined) this.clearProblem();
    else this.showProblem(problem.field, problem.message);
    return problem === undefined;
  }

  showProblem(field: Field, message: string): void {
    const input = field === "prompt" ? this.#promptInput : byId<HTMLInputElement>(INPUTS[field]);
    this.clearProblem();
    input.closest("details")?.setAttribute("open", "");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-errormessage", "problem");
    setText(byId("problem"), message);
    byId("problem").hidden = false;
    input.focus();
  }

  clearProblem(): void {
    byId("problem").hidden = true;
    for (const input of document.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-errormessage");
    }
  }

  get #promptInput(): Input {
    return ["class", "class-name", "prompt"]
      .map((id) => byId<HTMLInputElement>(id))
      .find(({ disabled }) => !disabled) as Input;
  }

  /** Makes the fields those of the chosen model, where they are not yet. */
  #offer(prompt: string, stored?: Wish): void {
    const { model } = this;
    if (model === undefined) return;
    const shown = `${model.card === null ? "?" : "!"}${model.name}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { card } = model;
    this.#offerPrompt(model);
    byId("negative-field").hidden =
      card?.conditioning.type !== "text" || card.conditioning.negativePrompt === null;
    byId("guidance-field").hidden = card?.hasGuidance === false;
    byId("size").replaceChildren(
      ...(card?.sizes ?? []).map((size) =>
        create("option", { value: `${size.width}x${size.height}`, textContent: sizeWords(size) }),
      ),
    );
    if (card === null) byId("size").append(create("option", { value: "", textContent: "The model’s first" }));
    this.write({ ...defaultWish(model), prompt, ...(stored?.model === model.name ? stored : {}) });
    if (this.read().prompt === "") this.#choosePrompt();
  }

  #offerPrompt({ card }: ClientModel): void {
    const { conditioning } = card ?? {};
    const names = conditioning?.type === "class" ? conditioning.classNames : null;
    const isListed = names !== null && names.length <= LISTED_CLASSES;
    const kind = conditioning?.type !== "class" ? "prompt" : isListed ? "class" : "class-name";
    for (const id of ["prompt", "class", "class-name"]) {
      const input = byId<HTMLInputElement>(id);
      input.hidden = input.disabled = id !== kind;
    }
    const label = byId<HTMLLabelElement>("prompt-label");
    label.htmlFor = kind;
    const count = conditioning?.type === "class" ? conditioning.classCount : 0;
    setText(label, kind === "prompt" ? "Prompt" : names === null ? `Class, 0 to ${count - 1}` : "Class");
    // A name may stand for several classes: the number is what is sent.
    byId("class").replaceChildren(
      ...(isListed ? names : []).map((name, k) => create("option", { value: String(k), textContent: name })),
    );
    byId("classes").replaceChildren(
      ...(isListed ? [] : (names ?? [])).map((name) => create("option", { value: name })),
    );
  }

  #choosePrompt(): void {
    const select = byId<HTMLSelectElement>("class");
    if (!select.disabled) select.selectedIndex = 0;
  }

  #changed(): void {
    this.clearProblem();
    const wish = this.read();
    const { card = null } = this.model ?? {};
    byId("window-size-field").hidden = !hasWindowSize(wish.window);
    byId<HTMLInputElement>("window-size").placeholder = wish.window === "fixed" ? "" : "auto";
    setText(byId("window-help"), windowHelp(wish.window, card?.defaults.window, columnsOf(wish, card)));
    sessionStorage.setItem(STORED_AS, JSON.stringify(wish));
  }
}

function windowHelp(kind: WindowKind, own: number | undefined, columns: number | undefined): string {
  switch (kind) {
    case "model": {
      const size = own === undefined || columns === undefined ? undefined : Math.min(own, columns);
      if (size === undefined) return "What its card says.";
      return size === columns
        ? `All ${columns} tokens of a row: next-token order. Guesses ahead still save forwards.`
        : `A row starts when the row above is ${size} tokens ahead.`;
    }
    case "full":
      return "Row by row, the exact picture. Guesses ahead still save forwards.";
    case "guessed":
      return "Rows see guesses of what is not decoded yet: far fewer forwards, nearly as good.";
    case "adaptive":
      return "Each row opens as soon as a test of its first token holds.";
    case "fixed":
      return "A row starts when the row above is so many tokens ahead. Narrow ones cost quality.";
  }
}

function storedWish(): Wish | undefined {
  try {
    return (JSON.parse(sessionStorage.getItem(STORED_AS) ?? "null") as Wish | null) ?? undefined;
  } catch {
    return undefined;
  }
}

function pick(wish: Wish, fields: readonly Field[]): Partial<Wish> {
  return Object.fromEntries(fields.map((field) => [field, wish[field]]));
}
