const MAX_LINES = 200;
const MAX_LINE_LENGTH = 2_000;

/** The last lines that a worker printed, bounded. */
export class OutputTail {
  #lines: string[] = [];
  #partial = "";
  #droppedCount = 0;

  /** Takes what was printed; returns the lines that it completed. */
  add(chunk: string): readonly string[] {
    const pieces = (this.#partial + chunk).split("\n");
    this.#partial = (pieces.pop() ?? "").slice(-MAX_LINE_LENGTH);
    const completed = pieces.map((line) => line.slice(0, MAX_LINE_LENGTH));
    this.#lines.push(...completed.slice(-MAX_LINES));
    const excess = this.#lines.length - MAX_LINES;
    if (excess > 0) {
      this.#lines.splice(0, excess);
      this.#droppedCount += excess;
    }
    return completed;
  }

  toString(): string {
    const lines = this.#partial === "" ? this.#lines : [...this.#lines, this.#partial];
    const dropped = this.#droppedCount > 0 ? [`(${this.#droppedCount} earlier lines dropped)`] : [];
    return [...dropped, ...lines].join("\n").trim();
  }
}
