import type { StartEvent, StepEvent } from "../events.ts";
import type { RequestBody } from "../wish.ts";

/** A picture of this browser, with all that is needed to show it and to make it again. */
export interface KeptPicture {
  readonly id?: number;
  readonly madeAt: number;
  readonly title: string;
  readonly body: RequestBody;
  readonly events: readonly (StartEvent | StepEvent)[];
  /** PNG, with how it was made. */
  readonly data: Blob;
}

const DATABASE = "zipar-studio";
const STORE = "pictures";
/** The oldest leave. */
const MOST_PICTURES = 200;

/** The newest first. */
export async function keptPictures(): Promise<readonly KeptPicture[]> {
  const database = await open();
  const all = await settled(database.transaction(STORE).objectStore(STORE).getAll());
  return (all as KeptPicture[]).reverse();
}

export async function keepPicture(picture: KeptPicture): Promise<void> {
  const store = (await open()).transaction(STORE, "readwrite").objectStore(STORE);
  await settled(store.add(picture));
  const ids = await settled(store.getAllKeys());
  for (const id of ids.slice(0, Math.max(0, ids.length - MOST_PICTURES))) store.delete(id);
}

export async function forgetPicture(id: number): Promise<void> {
  await settled((await open()).transaction(STORE, "readwrite").objectStore(STORE).delete(id));
}

export async function forgetAllPictures(): Promise<void> {
  await settled((await open()).transaction(STORE, "readwrite").objectStore(STORE).clear());
}

let opened: Promise<IDBDatabase> | undefined;

function open(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

function settled<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
