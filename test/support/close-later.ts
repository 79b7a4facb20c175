import { onTestFinished } from "vitest";

/** Closes a thing when the running test is over, whatever came of it: the last one opened first. */
export function closeLater<Thing>(thing: Thing, close: (thing: Thing) => unknown): Thing {
  onTestFinished(async () => {
    await close(thing);
  });
  return thing;
}
