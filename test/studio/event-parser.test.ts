import { expect, test } from "vitest";
import { eventParser } from "../../src/studio/event-parser.ts";

const TEXT =
  ': zipar\n\nid: 0\nevent: start\ndata: {"type":"start","a":"\\n: ü"}\n\n: waiting\n\nevent: step\ndata: {"b":\ndata: 2}\n\n';

test("events are read from pieces of any size", () => {
  for (let size = 1; size <= TEXT.length; size++) {
    const parse = eventParser();
    const events: unknown[] = [];
    for (let start = 0; start < TEXT.length; start += size)
      events.push(...parse(TEXT.slice(start, start + size)));
    expect(events).toEqual([{ type: "start", a: "\n: ü" }, { b: 2 }]);
  }
});

test("an event that is cut off is none", () => {
  expect(eventParser()('data: {"a":1}\n')).toEqual([]);
});
