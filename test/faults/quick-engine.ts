/** Engine options under which the harness need not wait long for what it wants to see. */
export const QUICK_ENGINE = { startTimeoutMs: 3_000, hangTimeoutMs: 1_500, firstHangTimeoutMs: 3_000 };

/** The same for a worker that imports PyTorch, on a machine that has other work. */
export const DEMO_ENGINE = { startTimeoutMs: 20_000, hangTimeoutMs: 2_000, firstHangTimeoutMs: 8_000 };

/** The same for one whose processes wait for each other. */
export const GROUP_ENGINE = {
  startTimeoutMs: 30_000,
  hangTimeoutMs: 4_000,
  firstHangTimeoutMs: 20_000,
  device: "cpu+cpu",
};
