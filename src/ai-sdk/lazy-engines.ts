import { createEngine, type Engine } from "../api/engine.ts";
import type { EngineOptions } from "../api/engine-options.ts";
import { ZiparError } from "../errors.ts";

/** Engines of one set of options, one for each model, each started when it is first asked for. */
export class LazyEngines {
  readonly #options: Omit<EngineOptions, "model" | "signal">;
  readonly #starts = new Map<string, Promise<Engine>>();
  #closing = new AbortController();

  constructor(options: Omit<EngineOptions, "model" | "signal">) {
    this.#options = options;
  }

  /** Rejects with what its start fails with; the next call tries again. */
  get(model: string): Promise<Engine> {
    return this.#starts.get(model) ?? this.#start(model);
  }

  /** Ends all of them, and starts that have not ended yet; what is asked for after it starts anew. */
  async dispose(): Promise<void> {
    const starts = [...this.#starts.values()];
    this.#starts.clear();
    this.#closing.abort(new ZiparError({ code: "engine-closed", message: "the provider was closed" }));
    this.#closing = new AbortController();
    await Promise.all(
      starts.map((start) =>
        start.then(
          (engine) => engine.dispose(),
          () => {},
        ),
      ),
    );
  }

  #start(model: string): Promise<Engine> {
    const start = createEngine({ ...this.#options, model, signal: this.#closing.signal });
    this.#starts.set(model, start);
    start.catch(() => {
      if (this.#starts.get(model) === start) this.#starts.delete(model);
    });
    return start;
  }
}
