import { windowWords } from "../words.ts";
import { byId, create } from "./element.ts";
import {
  forgetAllPictures,
  forgetPicture,
  type KeptPicture,
  keepPicture,
  keptPictures,
} from "./gallery-store.ts";
import type { Run } from "./run.ts";

export interface GalleryActions {
  readonly show: (picture: KeptPicture) => void;
  readonly useAgain: (picture: KeptPicture) => void;
}

/** The pictures that this browser keeps. Where it keeps none (private windows, a full disk), there is no gallery. */
export class Gallery {
  readonly #actions: GalleryActions;
  #urls: string[] = [];

  constructor(actions: GalleryActions) {
    this.#actions = actions;
    const dialog = byId<HTMLDialogElement>("delete-dialog");
    byId("delete-all").addEventListener("click", () => dialog.showModal());
    dialog.addEventListener("close", async () => {
      if (dialog.returnValue !== "delete") return;
      await forgetAllPictures();
      await this.refresh();
    });
  }

  async refresh(): Promise<void> {
    const pictures = await keptPictures().catch(() => []);
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
    byId("pictures").replaceChildren(...pictures.map((picture) => this.#item(picture)));
    byId("gallery").hidden = pictures.length === 0;
  }

  async keep(run: Run): Promise<void> {
    const { title, body, picture, decoding } = run;
    const { start, steps } = decoding;
    if (picture === undefined || body === undefined || start === undefined) return;
    const kept = { madeAt: Date.now(), title, body, events: [start, ...steps], data: picture };
    await keepPicture(kept).catch(() => {});
    await this.refresh();
  }

  #item(picture: KeptPicture): HTMLLIElement {
    const { id, title, data, events } = picture;
    const [start] = events;
    const url = URL.createObjectURL(data);
    this.#urls.push(url);
    const how =
      start?.type === "start"
        ? `Seed ${start.seed}, ${windowWords(start)}, ${events.length - 1} forwards`
        : "";
    const image = create("img", { src: url, alt: "", loading: "lazy" });
    const show = create("button", { type: "button", className: "thumb", title: `${title}. ${how}` }, image);
    show.setAttribute("aria-label", `Show ${title}. ${how}`);
    show.addEventListener("click", () => this.#actions.show(picture));
    const again = create("button", { type: "button", className: "quiet", textContent: "Use again" });
    again.setAttribute("aria-label", `Use again: ${title}. ${how}`);
    again.addEventListener("click", () => this.#actions.useAgain(picture));
    const forget = create("button", { type: "button", className: "quiet", textContent: "Delete" });
    forget.setAttribute("aria-label", `Delete ${title}. ${how}`);
    forget.addEventListener("click", async () => {
      if (id !== undefined) await forgetPicture(id);
      await this.refresh();
    });
    const caption = create(
      "p",
      { title },
      create("strong", { textContent: title }),
      create("span", { textContent: how }),
    );
    return create("li", {}, show, caption, create("div", { className: "actions" }, again, forget));
  }
}
