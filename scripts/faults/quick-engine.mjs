/** Engine options under which the harness need not wait long for what it wants to see. */
export const QUICK_ENGINE = { startTimeoutMs: 3_000, hangTimeoutMs: 1_500, firstHangTimeoutMs: 3_000 };
