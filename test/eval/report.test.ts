import { describe, expect, test } from "vitest";
import type { WindowOption } from "../../src/api/window-name.ts";
import type { Verdict } from "../../src/eval/judge.ts";
import { describeSetting, greedyAgreements, type MeasuredSetting } from "../../src/eval/report.ts";
import { plainSetting } from "../../src/eval/settings.ts";

const verdict: Verdict = { correct: [1, 1, 0, 1], frechet: 2, frechetResamples: [1, 3] };

function measured(
  window: WindowOption,
  bits: readonly number[],
  judged: Verdict | undefined,
): MeasuredSetting {
  return {
    setting: plainSetting(window),
    verdict: judged,
    samples: {
      wallMs: 5,
      nextTokenForwards: 100,
      hasPictures: judged !== undefined,
      images: bits.map((bitsPerToken, k) => ({ classIndex: k % 2, seed: k, forwards: 40 + k, bitsPerToken })),
      greedyTokens: [
        [1, 2, 3, 4],
        [1, 2, 3, 5],
      ],
    },
  };
}

const greedy = [
  [1, 2, 3, 4],
  [1, 0, 3, 4],
];

describe("a setting's report", () => {
  test("has the means of its images, and their errors", () => {
    const report = describeSetting(measured(4, [1, 2, 3, 6], verdict), greedy, undefined);
    expect(report).toMatchObject({
      window: 4,
      forwards: 41.5,
      accuracy: 0.75,
      frechet: 2,
      greedyAgreement: 0.75,
      bitsPerToken: 3,
    });
    expect(report.reduction).toBeCloseTo(0.585, 12);
    expect(report.errors.frechet).toBe(1);
    expect(report.errors.reduction).toBeCloseTo(report.errors.forwards / 100, 12);
    expect(report.errors.bitsPerToken).toBeGreaterThan(0);
    expect(report.differences).toBeUndefined();
  });

  test("compares with next-token order image by image, so that what both have in common has no error", () => {
    const baseline = measured("full", [1, 2, 3, 6], verdict);
    const shifted = measured(4, [1.5, 2.5, 3.5, 6.5], {
      ...verdict,
      correct: [1, 0, 0, 1],
      frechet: 2.5,
      frechetResamples: [1.5, 3.5],
    });
    const { differences } = describeSetting(shifted, greedy, baseline);
    expect(differences).toMatchObject({ bitsPerToken: 0.5, accuracy: -0.25, frechet: 0.5 });
    expect(differences?.errors.bitsPerToken).toBe(0);
    expect(differences?.errors.frechet).toBe(0);
    expect(differences?.errors.accuracy).toBeGreaterThan(0);
    expect(describeSetting(baseline, greedy, baseline).differences).toBeUndefined();
  });

  test("has no measures of pictures without a judge", () => {
    const report = describeSetting(
      measured(4, [1, 2], undefined),
      greedy,
      measured("full", [1, 2], undefined),
    );
    expect(report.accuracy).toBeNull();
    expect(report.errors.frechet).toBeNull();
    expect(report.differences).toMatchObject({ accuracy: null, frechet: null, bitsPerToken: 0 });
  });
});

test("greedy agreement is the share of cells with the same token, class by class", () => {
  expect(greedyAgreements(greedy, greedy)).toEqual([1, 1]);
  expect(
    greedyAgreements(
      [
        [1, 2],
        [3, 4],
      ],
      [
        [1, 5],
        [6, 7],
      ],
    ),
  ).toEqual([0.5, 0]);
});
