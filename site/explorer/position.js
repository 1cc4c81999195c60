"use strict";
// What the formulas say of one position, in sentences and pictures.
(() => {
  const { bernoulli, budget, flows, formulas, rules, draw, html, number, ruleOf, ruleText, table } =
    globalThis.lambdaStar;
  const element = (id) => document.getElementById(id);

  const THIN = 1e-6; // a tail below this is not 1 − q, which has lost its digits

  /** Returns the last point of [low, high] up to which a condition holds, by halving. */
  function upTo(holds, low, high) {
    for (;;) {
      const middle = low + (high - low) / 2;
      if (middle <= low || middle >= high) return low;
      if (holds(middle)) low = middle;
      else high = middle;
    }
  }

  /** Returns the tail beside the modal probability q of a student at rest, with the digits that 1 − q has lost. */
  function restOf(q, rises) {
    const oddsOf = (tail) => (tail > 0 ? -formulas.logit(tail) : 750); // past which a tail is 0
    if (!(1 - q <= THIN)) return 1 - q;
    const [low, high] = [1 - q + Number.EPSILON, 1 - q - Number.EPSILON].map(oddsOf);
    return formulas.fixed_point(0.5, -upTo(rises, low, high));
  }

  /** Returns the least λ at which the modal token, which the base favours, is dead. */
  function modalDies(rule, p, b, modal) {
    if (p > 0.01 || rule.dies(b, p) === Infinity) return rule.dies(1 - p, 1 - b);
    const found = Math.expm1(upTo((x) => modal(Math.expm1(x)) > 0, 0, 709));
    return found < 1e307 ? found : Infinity;
  }

  /** Returns everything that the page shows about a state. */
  function compute({ p, b, c, lam, rule: name, options }) {
    const rule = ruleOf({ rule: name, options, c });
    const modal = (at) => (name === "teacher_weight" && !rule.centred && at < 1 ? NaN : rule.student(p, b, at));
    const fixedTail = (at) => formulas.fixed_point(0.5, -formulas.logit(p) - formulas.push(p, b, at));
    // Training comes to its end from the base: up to where the force is not above zero, or down to where not below.
    const tail = (at) => {
      const q = modal(at);
      const rises = (theta) => {
        const { modal: up, tail: down } = rule.force(theta, p, b, at);
        return up > down || (up === down && q <= b);
      };
      return restOf(q, rises);
    };
    const [losing, dies] = p >= b ? ["tail", rule.dies(p, b)] : ["modal token", modalDies(rule, p, b, modal)];
    const kind = (at) => {
      if (at >= dies) return "dead";
      const fixed = bernoulli.fixed_point(p, b, at);
      const [one, other] = fixed < 0.5 ? [modal(at), fixed] : [tail(at), fixedTail(at)];
      if (Number.isNaN(one)) return "unknown";
      return Math.abs(one - other) <= 1e-7 * other ? "kept" : "left";
    };
    const star = bernoulli.threshold(p, b, c),
      leaves = rule.leaves(p, b);
    const finite = [star, leaves, dies].filter((one) => one < 12 && one > 1).map((one) => one - 1);
    const high = Math.max(1 + 1.6 * Math.max(0.25, ...finite), 1.08 * lam);
    return {
      rule,
      modal,
      tail,
      fixedTail,
      losing,
      dies,
      kind,
      star,
      leaves,
      high,
      text: ruleText(rule),
      ratio: (at) => bernoulli.tail_ratio(p, b, at),
    };
  }

  const never = (value) => (value === Infinity ? "never" : number(value));
  const NAMES = {
    kept: "at the fixed point",
    left: "away from the fixed point",
    dead: "with one side dead",
    unknown: "at a point that is not computed, as it may depend on where training starts",
  };
  const CAPPED = { kept: "preserving", left: "saturated", dead: "collapsing" };

  function sentences({ p, b, c, lam }, found) {
    const ratio = found.ratio(lam),
      thin = ratio >= 1 ? `${number(ratio, 4)} times thinner` : `${number(1 / ratio, 4)} times thicker`;
    const first =
      p > b
        ? `At λ = ${number(lam)} the fixed point's tail is ${ratio === 1 ? "as thick as" : `${thin} than`} the teacher's; c = ${number(c)} allows λ up to λ* = ${number(found.star)}.`
        : `The base gives the token no less than the teacher does, so no λ above 1 thins the tail, and λ* is +inf; at λ = ${number(lam)} the tail is ${ratio === 1 ? "as thick as" : `${thin} than`} the teacher's.`;
    const kind = found.kind(lam);
    const regime =
      found.rule.constructor === rules.log_ratio_cap && !found.rule.through ? ` The regime is ${CAPPED[kind]}.` : "";
    const second = {
      kept: `Under ${found.text} training ends at the fixed point${found.rule.keeps_fixed_point ? " at every λ" : ""}.`,
      left: `Under ${found.text} training ends away from the fixed point, with a tail of ${number(found.tail(lam), 4)}.`,
      dead: `Under ${found.text} the ${found.losing} dies from λ = ${number(found.dies)} on: in the mean, training ends without it.`,
      unknown: `Under ${found.text} where training ends below λ = 1 may depend on where it starts, so it is not computed.`,
    }[kind];
    return { kind: kind === "kept" && lam > found.star ? "left" : kind, text: `${first} ${second}${regime}` };
  }

  // Pictures.

  const HERE = ({ lam }) => ({ at: lam, label: "λ", kind: "here" });

  function sampled(low, high, f, count = 240, cuts = []) {
    const at = Array.from({ length: count + 1 }, (_, i) => low + ((high - low) * i) / count);
    return [...new Set([...at, ...cuts.filter((one) => one > low && one < high)])]
      .sort((one, other) => one - other)
      .map((one) => [one, f(one)]);
  }

  function bandsOf(found) {
    const cuts = [0, 1, found.leaves, found.dies].filter((one) => one >= 0 && one < found.high);
    const ends = [...new Set(cuts), found.high].sort((one, other) => one - other);
    const capped = found.rule.constructor === rules.log_ratio_cap && !found.rule.through,
      bands = [];
    ends.slice(1).forEach((to, at) => {
      const kind = found.kind((ends[at] + to) / 2),
        last = bands.at(-1);
      if (last?.kind === kind) last.to = to;
      else bands.push({ from: ends[at], to, kind, name: capped ? `${CAPPED[kind]}: ${NAMES[kind]}` : NAMES[kind] });
    });
    return bands;
  }

  function drawRegimes(state, found, x) {
    const bands = bandsOf(found);
    const marks = [
      { at: 0, label: "base" },
      { at: 1, label: "teacher" },
      { at: found.star, label: "λ*" },
    ];
    if (found.leaves !== found.star) marks.push({ at: found.leaves, label: "leaves" });
    marks.push(
      { at: found.dies, label: "dies" },
      { at: state.lam, label: `λ = ${number(state.lam, 4)}`, kind: "here" },
    );
    const parts = bands.map(({ from, to, kind }) => `from ${number(from)} to ${number(to)} ${NAMES[kind]}`);
    draw(element("regimes"), {
      title: "Where training ends, by λ",
      x,
      y: { low: 0, high: 1, ticks: [] },
      bands,
      marks,
      height: 150,
      caption: `Under ${found.text} training ends for λ ${parts.join("; ")}.`,
    });
  }

  function drawRatio(state, found, x) {
    const here = found.ratio(state.lam);
    const least = Math.min(0.5, found.ratio(0), found.ratio(found.high));
    const most = Math.max(10, here * 2, state.c < 1e15 ? state.c * 20 : 0);
    const reaches =
      found.star < Infinity ? `reaches c = ${number(state.c)} at λ* = ${number(found.star)}` : "never reaches c";
    draw(element("ratio"), {
      title: "Tail ratio R(λ) of the fixed point",
      x,
      y: {
        low: 10 ** Math.floor(Math.log10(least)),
        high: 10 ** Math.ceil(Math.log10(Math.min(most, 1e15))),
        log: true,
      },
      lines: [{ points: sampled(0, found.high, found.ratio), kind: "first" }],
      levels: [{ at: state.c, label: `c = ${number(state.c, 4)}` }],
      marks: [{ at: found.star, label: "λ*" }, HERE(state)],
      dots: [{ at: state.lam, value: here }],
      caption:
        "How many times thinner than the teacher's the fixed point's tail is. " +
        `It is 1 at λ = 1, ${number(here, 4)} at λ = ${number(state.lam)}, and ${reaches}.`,
    });
  }

  function drawStudent(state, found, x) {
    const edge = (1 - state.p) / state.c,
      points = sampled(0, found.high, found.tail, 240, [found.leaves, found.dies, found.dies - 1e-9]);
    const least = Math.max(
      1e-14,
      Math.min(edge || 1, found.fixedTail(found.high), found.fixedTail(0), found.fixedTail(state.lam)) / 3,
    );
    const low = 10 ** Math.floor(Math.log10(least)),
      here = found.tail(state.lam);
    const shown = found.kind(state.lam) === "dead" && found.losing === "tail" ? "0" : number(here, 4);
    draw(element("student"), {
      title: "The student's tail after converged training",
      x,
      y: { low, high: 1, log: true },
      lines: [
        { points, kind: "first", name: "student" },
        { points: sampled(0, found.high, found.fixedTail), kind: "second", name: "fixed point" },
      ],
      levels: [{ at: edge, label: "clip edge (1−p)/c" }],
      marks: [{ at: found.star, label: "λ*" }, { at: found.dies, label: "dies" }, HERE(state)],
      dots: [{ at: state.lam, value: here }],
      caption: `At λ = ${number(state.lam)} the student's tail is ${shown} and the fixed point's ${number(found.fixedTail(state.lam), 4)}; the teacher's is ${number(1 - state.p, 4)}. A curve on the border below is a tail too thin to draw, or dead.`,
    });
  }

  function drawForce(state, found) {
    const { p, b, lam } = state,
      teacher = formulas.logit(p),
      base = formulas.logit(b),
      target = teacher + formulas.push(p, b, lam);
    const net = (rule) => (theta) => {
      const { modal, tail } = rule.force(theta, p, b, lam);
      return modal - tail;
    };
    const low = Math.min(teacher, base, target) - 2,
      high = Math.max(teacher, base, target) + 6;
    const own = sampled(low, high, net(found.rule)),
      free = sampled(low, high, net(new rules.none()));
    const limit = Math.max(...free.map(([, value]) => Math.abs(value)));
    const values = own.map(([, value]) => Math.max(-1.5 * limit, Math.min(1.5 * limit, value)));
    const most = Math.max(1, ...values),
      least = Math.min(-1, ...values);
    // Room for the curve without bounds where it goes on past this rule's.
    const top = Math.max(most, Math.min(-least / 3, free[0][1])),
      bottom = Math.min(least, Math.max(-most / 3, free.at(-1)[1]));
    const dead = found.kind(lam) === "dead";
    // The end as log-odds: the logit of the lesser of its two masses.
    const [q, rest] = [found.modal(lam), found.tail(lam)],
      end = q < rest ? formulas.logit(q) : -formulas.logit(rest);
    const ends = Number.isNaN(end)
      ? ""
      : `At λ = ${number(lam)} training from the base ends at log-odds ${number(end, 4)}.`;
    draw(element("force"), {
      title: "The force on the student, by its log-odds",
      x: { low, high, label: "log-odds of the student's modal token" },
      y: { low: bottom, high: top },
      lines: [
        { points: own, kind: "first", name: found.text },
        { points: free, kind: "second", name: "none()" },
      ],
      levels: [{ at: 0, label: "" }],
      marks: [
        { at: base, label: "base" },
        { at: teacher, label: "teacher" },
        ...(dead ? [] : [{ at: end, label: "end", kind: "here" }]),
      ],
      dots: dead ? [] : [{ at: end, value: 0 }],
      caption: dead
        ? `The force F_m − F_τ at λ = ${number(lam)} does not come back to zero on the side of the ${p >= b ? "modal token" : "tail"}: nothing stops the student there, and the ${found.losing} dies.`
        : `Under natural gradient the log-odds move by F_m − F_τ: up where it is above zero, down where it is below. ${ends}`,
    });
  }

  function drawBudget(state, found) {
    const { lam, steps, rate } = state,
      unit = budget._step_time(rate, "natural");
    const reach = (count) => flows.natural_threshold(found.star, count * unit);
    const high = found.star < Infinity ? Math.max(1.15 * lam, Math.min(reach(steps), 6) * 1.15, 1.5 * found.star) : 2;
    const points = Array.from({ length: 201 }, (_, i) => 10 ** (i / 40)).map((count) => [count, reach(count)]);
    const taken = Math.floor(upTo((count) => reach(count) > lam, 0, 1e12));
    const caption =
      found.star === Infinity
        ? "There is no clip edge to reach: λ* is +inf."
        : `A run of ${steps} steps of size ${number(rate)} (budget s = ${number(steps * unit, 4)}, natural gradient) just reaches the clip edge at λ = ${number(reach(steps), 5)}; with more steps that falls to λ* = ${number(found.star)}. ` +
          (lam > found.star
            ? `At λ = ${number(lam)} the edge is reached after ${taken} steps.`
            : `At λ = ${number(lam)} it is never reached.`);
    draw(element("budget"), {
      title: "The λ that a finite budget allows",
      x: { low: 1, high: 1e5, log: true, label: "steps" },
      y: { low: found.star < Infinity ? Math.max(0, Math.min(found.star, lam) - 0.2) : 1, high },
      lines: [{ points, kind: "first" }],
      levels: [
        ...(found.star < Infinity ? [{ at: found.star, label: "λ*", right: true }] : []),
        { at: lam, label: "λ" },
      ],
      marks: [{ at: steps, label: `${steps} steps`, kind: "here" }],
      dots: [{ at: steps, value: reach(steps) <= high ? reach(steps) : NaN }],
      caption,
    });
  }

  function drawTable(found) {
    const at = (text) => ({ text, number: true });
    const rows = sampled(0, found.high, found.ratio, 16, [1, found.leaves, found.dies]).map(([lam, ratio]) => [
      at(number(lam, 5)),
      at(number(ratio, 4)),
      at(number(found.fixedTail(lam), 4)),
      at(Number.isNaN(found.tail(lam)) ? "" : number(found.tail(lam), 4)),
      NAMES[found.kind(lam)],
    ]);
    element("table").lastElementChild.replaceChildren(
      table(["λ", "tail ratio R(λ)", "fixed point's tail", "student's tail", "training ends"], rows),
    );
  }

  function drawNumbers(state, found) {
    const { p, b, c, lam } = state,
      unit = budget._step_time(state.rate, "natural");
    const shown = {
      "λ*, the threshold": number(found.star, 12),
      "the student leaves the fixed point at λ": never(found.leaves),
      [`the ${found.losing} dies at λ`]: never(found.dies),
      "tail ratio R(λ)": number(found.ratio(lam), 8),
      "the teacher's tail 1−p": number(1 - p),
      "the fixed point's tail": number(found.fixedTail(lam)),
      "the student's tail":
        found.kind(lam) === "dead" ? (found.losing === "tail" ? "0" : "1") : number(found.tail(lam)),
      "λ allowed by the budget": number(flows.natural_threshold(found.star, state.steps * unit), 8),
      "operating point with a margin of 10 %": number(bernoulli.operating_point(p, b, c, 0.1), 8),
    };
    element("numbers").replaceChildren(
      ...Object.entries(shown).map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))),
    );
  }

  /** Draws all pictures and lists of a state, and returns what it says in words. */
  function drawAll(state) {
    const found = compute(state),
      x = { low: 0, high: found.high, label: "extrapolation coefficient λ" };
    drawNumbers(state, found);
    drawRegimes(state, found, x);
    drawRatio(state, found, x);
    drawStudent(state, found, x);
    drawForce(state, found);
    drawBudget(state, found);
    drawTable(found);
    return { ...sentences(state, found), rule: found.text, summary: found.rule.constructor.summary };
  }

  Object.assign(globalThis.lambdaStar, { drawAll });
})();
