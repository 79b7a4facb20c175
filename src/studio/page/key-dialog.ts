import { byId } from "./element.ts";

/** The tab's own, gone when it is closed. */
const STORED_AS = "zipar-key";
let asking: Promise<string> | undefined;

export function knownKey(): string | undefined {
  return sessionStorage.getItem(STORED_AS) ?? undefined;
}

/** Asks once for all who want one. A key that is known by now and is not the refused one is taken without a question. */
export function askForKey(refused: string | undefined): Promise<string> {
  const known = knownKey();
  if (known !== undefined && known !== refused) return Promise.resolve(known);
  asking ??= ask(refused !== undefined).finally(() => {
    asking = undefined;
  });
  return asking;
}

function ask(isWrong: boolean): Promise<string> {
  const dialog = byId<HTMLDialogElement>("key-dialog");
  const input = byId<HTMLInputElement>("key");
  sessionStorage.removeItem(STORED_AS);
  byId("key-title").textContent = isWrong
    ? "That key is not one of this server’s"
    : "This server asks for a key";
  input.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    byId("key-form").addEventListener(
      "submit",
      () => {
        sessionStorage.setItem(STORED_AS, input.value.trim());
        resolve(input.value.trim());
      },
      { once: true },
    );
  });
}
