import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type HangTimeouts, Watchdog } from "../../src/worker/watchdog.ts";

const TIMEOUTS: HangTimeouts = { firstHangTimeoutMs: 600_000 };

describe("the watchdog of a worker", () => {
  const watchdogs: Watchdog[] = [];
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
  });
  afterEach(() => {
    for (const watchdog of watchdogs.splice(0)) watchdog.stop();
    vi.useRealTimers();
  });

  function watch(timeouts: HangTimeouts = TIMEOUTS) {
    const onSilence = vi.fn();
    const onHang = vi.fn();
    const watchdog = new Watchdog(timeouts, { onSilence, onHang });
    watchdogs.push(watchdog);
    return { watchdog, onSilence, onHang };
  }

  /** Lets time pass with a pulse every 200 ms, whose count grows where the worker makes progress. */
  function pulses(watchdog: Watchdog, ms: number, count: (at: number) => number): void {
    for (let at = 0; at < ms; at += 200) {
      vi.advanceTimersByTime(200);
      watchdog.heard();
      watchdog.pulse(count(at));
    }
  }

  test("asks for nothing while nothing is due", () => {
    const { watchdog, onSilence, onHang } = watch({
      ...TIMEOUTS,
      hangTimeoutMs: 1000,
      firstHangTimeoutMs: 1000,
    });
    vi.advanceTimersByTime(3_600_000);
    watchdog.watch("forward");
    watchdog.answered();
    watchdog.watch(undefined);
    vi.advanceTimersByTime(3_600_000);
    expect([onSilence, onHang].map((event) => event.mock.calls)).toEqual([[], []]);
  });

  test("looks after the link within half a second of silence, and not while pulses come", () => {
    const { watchdog, onSilence } = watch();
    watchdog.watch("forward");
    pulses(watchdog, 10_000, () => 1);
    expect(onSilence).not.toHaveBeenCalled();
    vi.advanceTimersByTime(500);
    expect(onSilence).toHaveBeenCalled();
  });

  test("lets a load and a first forward take hours as long as they come further, and ten minutes without", () => {
    const { watchdog, onHang } = watch();
    for (const request of ["init", "forward"]) {
      watchdog.watch(request);
      pulses(watchdog, 7_200_000, (at) => Math.floor(at / 500_000));
      expect(onHang).not.toHaveBeenCalled();
      watchdog.answered();
    }
    watchdog.watch("decode-image");
    pulses(watchdog, 599_000, () => 15);
    expect(onHang).not.toHaveBeenCalled();
    pulses(watchdog, 2_000, () => 15);
    expect(onHang.mock.calls[0]?.[0]).toBe("decode-image");
  });

  test("gives later forwards twenty times the longest wait that it has seen, and half a minute at least", () => {
    const quick = watch();
    quick.watchdog.watch("forward");
    vi.advanceTimersByTime(100);
    quick.watchdog.answered();
    quick.watchdog.watch("forward");
    vi.advanceTimersByTime(29_800);
    expect(quick.onHang).not.toHaveBeenCalled();
    vi.advanceTimersByTime(500);
    expect(quick.onHang).toHaveBeenCalled();

    const slow = watch();
    slow.watchdog.watch("forward");
    vi.advanceTimersByTime(100_000);
    slow.watchdog.answered();
    slow.watchdog.watch("forward");
    vi.advanceTimersByTime(1_990_000);
    expect(slow.onHang).not.toHaveBeenCalled();
    vi.advanceTimersByTime(20_000);
    expect(slow.onHang).toHaveBeenCalled();
  });

  test("measures from the last progress, not from the request", () => {
    const { watchdog, onHang } = watch({ ...TIMEOUTS, hangTimeoutMs: 1000 });
    watchdog.watch("forward");
    watchdog.answered();
    watchdog.watch("forward");
    pulses(watchdog, 60_000, (at) => Math.floor(at / 600));
    expect(onHang).not.toHaveBeenCalled();
    pulses(watchdog, 1_200, () => 5000);
    vi.advanceTimersByTime(300);
    expect(onHang).toHaveBeenCalled();
  });

  test("does not blame the worker when this program stood still", () => {
    const { watchdog, onSilence, onHang } = watch({
      ...TIMEOUTS,
      hangTimeoutMs: 1000,
      firstHangTimeoutMs: 1000,
    });
    watchdog.watch("forward");
    vi.advanceTimersByTime(150);
    const now = performance.now();
    const stall = vi.spyOn(performance, "now").mockReturnValue(now + 50_000); // one tick, long after the last
    vi.advanceTimersByTime(150);
    stall.mockReturnValue(now + 50_150);
    vi.advanceTimersByTime(150);
    expect([onSilence, onHang].map((event) => event.mock.calls)).toEqual([[], []]);
  });
});
