"use strict";
// What the answers of a rehearsal say: exact intervals, paired changes, and the verdict of `lambda-star decide`.
(() => {
  const { named, number, parseRule, rules } = globalThis.lambdaStar;

  let logFactorials = [0];

  function upperTail(successes, trials, share) {
    while (logFactorials.length <= trials) logFactorials.push(logFactorials.at(-1) + Math.log(logFactorials.length));
    let total = 0;
    for (let at = successes; at <= trials; at++) {
      const ways = logFactorials[trials] - logFactorials[at] - logFactorials[trials - at];
      const part = Math.exp(ways + at * Math.log(share) + (trials - at) * Math.log1p(-share));
      total += part;
      if (part < total * 1e-18 && at > trials * share) break;
    }
    return total;
  }

  function lowerEnd(successes, trials, miss) {
    if (successes === 0) return 0;
    let low = 0,
      high = 1;
    for (let round = 0; round < 60; round++) {
      const middle = (low + high) / 2;
      if (upperTail(successes, trials, middle) < miss) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  }

  /** Returns a share with its exact two-sided interval (Clopper and Pearson). */
  function exactShare(successes, trials, confidence = 0.95) {
    const miss = (1 - confidence) / 2;
    return {
      value: successes / trials,
      low: lowerEnd(successes, trials, miss),
      high: 1 - lowerEnd(trials - successes, trials, miss),
    };
  }

  /** Returns the paired change of a share, with an interval that covers at least as often as it says. */
  function changeOfShare(pairs, confidence = 0.95) {
    const count = (now, then) => pairs.filter(([one, other]) => one === now && other === then).length;
    const [gains, losses] = [count(true, false), count(false, true)].map((one) =>
      exactShare(one, pairs.length, (1 + confidence) / 2),
    );
    return { value: gains.value - losses.value, low: gains.low - losses.high, high: gains.high - losses.low };
  }

  const NOTHING = { value: NaN, low: NaN, high: NaN };
  const mean = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;

  /** Returns what the answers at each λ tell. */
  function pointsOf({ byLam }) {
    const reference = byLam.get(1) ?? new Map();
    return [...byLam].map(([lam, answers]) => {
      const every = [...answers.values()],
        judged = every.filter(({ valid }) => valid !== null);
      const pairs = [...answers]
        .filter(([key, { valid }]) => valid !== null && (reference.get(key)?.valid ?? null) !== null)
        .map(([key, { valid }]) => [valid, reference.get(key).valid]);
      const metrics = new Map();
      for (const { metrics: given } of every)
        for (const [name, value] of Object.entries(given))
          (metrics.get(name) ?? metrics.set(name, []).get(name)).push(value);
      return {
        lam,
        answers: every.length,
        valid: judged.length ? exactShare(judged.filter(({ valid }) => valid).length, judged.length) : NOTHING,
        change:
          lam === 1 && pairs.length ? { value: 0, low: 0, high: 0 } : pairs.length ? changeOfShare(pairs) : NOTHING,
        pairs: pairs.length,
        cut: mean(every.map(({ ended }) => Number(!ended))),
        metrics: new Map([...metrics].sort().map(([name, values]) => [name, mean(values)])),
      };
    });
  }

  const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;
  /** Returns a change in percent, with its sign. */
  const signed = (share) => `${share < 0 ? "−" : "+"}${Number((100 * Math.abs(share)).toPrecision(3))}`;

  /** Returns {safety, reason} on the death of the tail at λ, as far as the rule alone tells. */
  function death(lam, header) {
    const parsedRule = parseRule(header.rule ?? "none()");
    const shownRule = named(header.rule ?? "none()", 80);
    if (!parsedRule)
      return {
        safety: "unknown",
        reason: `This page does not know the update rule ${shownRule}; use \`lambda-star decide\`.`,
      };
    const rule = new rules[parsedRule.name](parsedRule.options),
      dies = rule.needs_rows ? NaN : rule.dies(0.999, 0.5);
    if (lam <= 1 && (rule.needs_rows || dies > 1))
      return { safety: "safe", reason: `λ = ${number(lam)} does not go past the teacher.` };
    if (dies === Infinity) return { safety: "safe", reason: `Under ${shownRule} no tail dies in the mean.` };
    return {
      safety: "unknown",
      reason: `Under ${shownRule} tails can die, and a rehearsal does not say where; run \`lambda-star calibrate\` with that rule, and give its report.`,
    };
  }

  /** Returns {safety, reason} on the answers at λ against those at λ = 1. */
  function validity(point, points, rehearsal, tolerance) {
    const { lam, change, pairs } = point,
      first = points.find((one) => one.lam === 1);
    if (lam === 1)
      return { safety: "safe", reason: "λ = 1 is plain distillation, which the others are compared with." };
    if (points.every(({ valid }) => Number.isNaN(valid.value)))
      return {
        safety: "unknown",
        reason:
          "The rehearsal has no contract that says which answers are valid; run `lambda-star rehearse` with --contract.",
      };
    if (!pairs)
      return { safety: "unknown", reason: "No answer at λ = 1 is paired with those at λ; rehearse with --lam 1 too." };
    if (first.valid.value < 0.05)
      return {
        safety: "unknown",
        reason: `Only ${percent(first.valid.value)} of the answers are valid at λ = 1, so that there is hardly one to lose; check contract, prompts and teacher.`,
      };
    const { missing, low, high } = withoutAnswers(lam, rehearsal, change);
    const allowed = `the tolerance of ${percent(tolerance)}`,
      said = `${signed(change.value)} % [${signed(low)}, ${signed(high)}]`,
      only = stopped(rehearsal.header);
    if (low >= -tolerance)
      return {
        safety: "safe",
        reason: `Against λ = 1 the share of valid answers loses ${low < 0 ? `at most ${percent(-low)}` : "nothing"}, within ${allowed}.${only}`,
      };
    if (high < -tolerance)
      return {
        safety: "unsafe",
        reason: `Against λ = 1 the share of valid answers changes by ${said}, past ${allowed}.${only}`,
      };
    if (missing)
      return {
        safety: "unknown",
        reason: `${missing} answers are missing or not judged at λ = ${number(lam)} or at λ = 1, and may decide; the same \`lambda-star rehearse\` goes on where it was stopped.${only}`,
      };
    return {
      safety: "unknown",
      reason: `${pairs} pairs of answers leave open whether λ costs more than ${allowed}: ${said}.${only}`,
    };
  }

  const stopped = ({ budget }) =>
    typeof budget === "number"
      ? ` That holds for a run that is stopped at flow time ${number(budget)}, and not for one that goes on.`
      : "";

  /** Returns how many answers lack a judgement, and the change if all of them lost, and if all of them gained. */
  function withoutAnswers(lam, { byLam }, change) {
    const keys = [...new Set([...byLam.values()].flatMap((answers) => [...answers.keys()]))];
    const judged = keys.map((key) => [byLam.get(lam), byLam.get(1)].map((answers) => answers.get(key)?.valid ?? null));
    const missing = judged.filter((pair) => pair.includes(null)).length;
    if (!missing) return { missing, low: change.low, high: change.high };
    const filled = (gained) => changeOfShare(judged.map(([now, then]) => [now ?? gained, then ?? !gained]));
    return { missing, low: filled(false).low, high: filled(true).high };
  }

  /** Returns the points of a rehearsal, each with its verdict, and the verdict on the whole. */
  function judge(rehearsal, tolerance = 0.05) {
    const points = pointsOf(rehearsal),
      order = ["unsafe", "unknown", "safe"];
    const opinion = (point) => {
      const both = [death(point.lam, rehearsal.header), validity(point, points, rehearsal, tolerance)];
      return both
        .reverse()
        .reduce((one, other) => (order.indexOf(other.safety) < order.indexOf(one.safety) ? other : one));
    };
    for (const point of points) point.verdict = opinion(point);
    const plain = points.find(({ lam }) => lam === 1)?.verdict ?? opinion({ lam: 1 });
    const above = points.filter(({ lam }) => lam > 1),
      candidates = [...points.map(({ lam, verdict: one }) => [lam, one]), [1, plain]];
    const safe = candidates.filter(([, one]) => one.safety === "safe").map(([lam]) => lam),
      most = safe.length ? Math.max(...safe) : null;
    let whole = above.find(({ lam }) => lam === most)?.verdict;
    if (!whole && plain.safety !== "safe") whole = plain;
    if (!whole && !above.length)
      whole = { safety: "unknown", reason: "No λ above 1 was rehearsed, so nothing is known of one; rehearse some." };
    whole ??= above.find((point) => point.verdict.safety === "unknown")?.verdict;
    whole ??= { safety: "safe", reason: `Every λ above 1 that was judged is unsafe: ${above[0].verdict.reason}` };
    return { points, whole: { ...whole, set_lam: most } };
  }

  Object.assign(globalThis.lambdaStar, { exactShare, judge, percent, signed });
})();
