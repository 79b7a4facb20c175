/**
 * What a row's observation amounts to, and why it is not what the table expects, where it is not.
 *
 * @param digests of a run without faults, by set of images
 * @param slack by which the bounds are multiplied, for a machine that has other work
 * @returns `ends`; `noticedMs` and `signal` where a death was noticed; `complaints`, empty for an explained row
 */
export function judge({ expected, faults, images, phase }, observed, { digests, slack }) {
  const ends = endingOf(observed, digests[images]);
  const notice = ends === "equal" ? {} : noticeOf(observed, phase);
  const complaints = [];
  if (ends !== expected.ends) complaints.push(`expected "${expected.ends}"`);
  if (expected.signal !== undefined && notice.signal !== expected.signal)
    complaints.push(`expected to be noticed by ${expected.signal}`);
  if (notice.noticedMs > slack * expected.withinMs)
    complaints.push(`expected to be noticed within ${slack * expected.withinMs} ms`);
  const missing = faults.filter(({ fault }) => !observed.strikes.some((strike) => strike.fault === fault));
  for (const { fault } of missing) complaints.push(`${fault} did not strike`);
  if (observed.processes.length > 0) complaints.push(`left ${observed.processes.length} processes`);
  if (observed.directories.length > 0) complaints.push(`left ${observed.directories.join(", ")}`);
  return { ends, ...notice, complaints };
}

function endingOf({ lost, outcomes, restartCount }, expected) {
  if (lost !== undefined) return lost;
  const failed = outcomes.find(({ code }) => code !== undefined);
  if (failed !== undefined) return `error ${failed.code}`;
  if (outcomes.some(({ digest }, k) => digest !== expected[k])) return "DIFFERENT";
  return restartCount > 0 ? "replayed equal" : "equal";
}

/**
 * When and by what a strike was noticed: by the engine's log, or by the error that the caller got. Where another fault
 * led to the row's phase, it is the one in that phase that counts. For an idle worker the time runs from the next
 * request, if nothing was noticed before.
 */
function noticeOf({ strikes, notices, outcomes }, phase) {
  const struck = strikes.find(({ at }) => at === phase) ?? strikes[0];
  const said = [...notices, ...outcomes.filter(({ code }) => code !== undefined)];
  const first = said.find(({ time }) => time >= Math.floor(struck?.time)) ?? said[0];
  if (struck === undefined || first === undefined) return {};
  const from = Math.max(struck.time, Math.min(first.time, outcomes[0]?.askedAt ?? 0));
  return { noticedMs: Math.max(0, Math.round(first.time - from)), signal: signalOf(first.message) };
}

const SIGNALS = [
  ["exit", /it was ended by|it ended with exit code/],
  ["heartbeat", /the connection to the worker broke/],
  ["deadline", /came no further|said nothing for/],
  ["fatal", /device-side assert|cannot go on/],
  ["protocol", /the worker sent/],
];

function signalOf(message) {
  return SIGNALS.find(([, pattern]) => pattern.test(message))?.[0];
}
