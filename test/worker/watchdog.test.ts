import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Patience, Vigil } from "../../src/worker/watchdog.ts";

const PATIENCE: Patience = { fixedMs: undefined, floorMs: 30_000, firstMs: 600_000 };

describe("the watch over a worker", () => {
  const vigils: Vigil[] = [];
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
  });
  afterEach(() => {
    for (const vigil of vigils.splice(0)) vigil.end();
    vi.useRealTimers();
  });

  function watch(patience: Patience = PATIENCE) {
    const onSilence = vi.fn();
    const onHang = vi.fn();
    const vigil = new Vigil(patience, { onSilence, onHang });
    vigils.push(vigil);
    return { vigil, onSilence, onHang };
  }

  /** Lets time pass with a pulse every 200 ms, whose count grows where the worker makes progress. */
  function pulses(vigil: Vigil, ms: number, count: (at: number) => number): void {
    for (let at = 0; at < ms; at += 200) {
      vi.advanceTimersByTime(200);
      vigil.heard();
      vigil.pulse(count(at));
    }
  }

  test("asks for nothing while nothing is due", () => {
    const { vigil, onSilence, onHang } = watch({ ...PATIENCE, fixedMs: 1000, firstMs: 1000 });
    vi.advanceTimersByTime(3_600_000);
    vigil.await("forward");
    vigil.answered();
    vigil.await(undefined);
    vi.advanceTimersByTime(3_600_000);
    expect([onSilence, onHang].map((event) => event.mock.calls)).toEqual([[], []]);
  });

  test("looks after the link within half a second of silence, and not while pulses come", () => {
    const { vigil, onSilence } = watch();
    vigil.await("forward");
    pulses(vigil, 10_000, () => 1);
    expect(onSilence).not.toHaveBeenCalled();
    vi.advanceTimersByTime(500);
    expect(onSilence).toHaveBeenCalled();
  });

  test("lets a load and a first forward take hours as long as they come further, and ten minutes without", () => {
    const { vigil, onHang } = watch();
    for (const what of ["init", "forward"]) {
      vigil.await(what);
      pulses(vigil, 7_200_000, (at) => Math.floor(at / 500_000));
      expect(onHang).not.toHaveBeenCalled();
      vigil.answered();
    }
    vigil.await("decode-image");
    pulses(vigil, 599_000, () => 15);
    expect(onHang).not.toHaveBeenCalled();
    pulses(vigil, 2_000, () => 15);
    expect(onHang.mock.calls[0]?.[0]).toBe("decode-image");
  });

  test("gives later forwards twenty times the longest wait that it has seen, and half a minute at least", () => {
    const quick = watch();
    quick.vigil.await("forward");
    vi.advanceTimersByTime(100);
    quick.vigil.answered();
    quick.vigil.await("forward");
    vi.advanceTimersByTime(29_800);
    expect(quick.onHang).not.toHaveBeenCalled();
    vi.advanceTimersByTime(500);
    expect(quick.onHang).toHaveBeenCalled();

    const slow = watch();
    slow.vigil.await("forward");
    vi.advanceTimersByTime(100_000);
    slow.vigil.answered();
    slow.vigil.await("forward");
    vi.advanceTimersByTime(1_990_000);
    expect(slow.onHang).not.toHaveBeenCalled();
    vi.advanceTimersByTime(20_000);
    expect(slow.onHang).toHaveBeenCalled();
  });

  test("measures from the last progress, not from the request", () => {
    const { vigil, onHang } = watch({ ...PATIENCE, fixedMs: 1000 });
    vigil.await("forward");
    vigil.answered();
    vigil.await("forward");
    pulses(vigil, 60_000, (at) => Math.floor(at / 600));
    expect(onHang).not.toHaveBeenCalled();
    pulses(vigil, 1_200, () => 5000);
    vi.advanceTimersByTime(300);
    expect(onHang).toHaveBeenCalled();
  });

  test("does not blame the worker when this program stood still", () => {
    const { vigil, onSilence, onHang } = watch({ ...PATIENCE, fixedMs: 1000, firstMs: 1000 });
    vigil.await("forward");
    vi.advanceTimersByTime(150);
    const now = performance.now();
    const stall = vi.spyOn(performance, "now").mockReturnValue(now + 50_000); // one tick, long after the last
    vi.advanceTimersByTime(150);
    stall.mockReturnValue(now + 50_150);
    vi.advanceTimersByTime(150);
    expect([onSilence, onHang].map((event) => event.mock.calls)).toEqual([[], []]);
  });
});
