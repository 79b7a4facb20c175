/**
 * Reads server-sent events from text that comes in pieces: each call gives those that the piece completes. Lines that
 * begin with a colon and events without data are none.
 */
export function eventParser(): (piece: string) => readonly unknown[] {
  let pending = "";
  return (piece) => {
    pending += piece;
    const blocks = pending.split("\n\n");
    pending = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const data = block
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart());
      return data.length === 0 ? [] : [JSON.parse(data.join("\n")) as unknown];
    });
  };
}
