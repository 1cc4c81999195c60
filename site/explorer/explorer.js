"use strict";
// The page: its controls, the state in its address, and the pictures of one position.
(() => {
const { bernoulli, budget, flows, formulas, rules, draw, html, number, table } = globalThis.lambdaStar;
const element = (id) => document.getElementById(id);

const START = { p: 0.999, b: 0.5, c: 5, lam: 1.25, rule: "log_ratio_cap", options: {}, steps: 200, rate: 0.01 };
const TITLES = {
  none: "nothing (TRL's reverse KL, G-OPD)", log_ratio_cap: "log-ratio to the teacher, capped",
  log_ratio_clamp: "log-ratio to the teacher, clamped on both sides", log_prob_floor: "the student's log-probability, from below",
  kl_to_base_cap: "KL-to-base term, capped", advantage_clamp: "whole advantage, clamped", reward_clip: "reward, clipped",
  importance_weight: "truncated importance weight", ppo: "PPO's ratio", teacher_weight: "weight by the teacher's ratio, capped",
  top_k: "loss over the most probable token alone", truncated_sampling: "rollouts with top-p",
};
const LABELS = {
  bound: "Bound, in nats", eps: "Distance from 1 at which the ratio is clipped", top_p: "Share of the mass that is drawn from",
  through: "Differentiated through", centred: "A baseline is subtracted first", teacher: "Teacher in the log-ratio",
};
const CHOICES = { Teacher: ["plain", "extrapolated"] };
const GIVEN = { log_ratio_clamp: { bound: 5 }, log_prob_floor: { bound: 8 }, advantage_clamp: { bound: 1 }, reward_clip: { bound: 2 }, top_k: { k: 1 }, truncated_sampling: { top_p: 0.95 } };
const RANGES = {
  p: [0, 1, "()"], b: [0, 1, "()"], c: [1, Infinity, "[]"], lam: [0, 1000, "[]"], steps: [1, 1e9, "[]"], rate: [0, 1, "(]"],
  bound: [0, Infinity, "(]"], eps: [0, Infinity, "()"], top_p: [0, 1, "(]"],
};
const SLIDERS = {
  p: { to: (p) => formulas.logit(p), from: (x) => tidyShare(x) }, b: { to: (b) => formulas.logit(b), from: (x) => tidyShare(x) },
  c: { to: (c) => Math.log10(c - 1), from: (x) => 1 + Number((10 ** x).toPrecision(3)) },
  lam: { to: (lam) => lam, from: (x) => x },
  steps: { to: Math.log10, from: (x) => Math.round(10 ** x) }, rate: { to: Math.log10, from: (x) => Number((10 ** x).toPrecision(3)) },
};

/** Returns the probability at log-odds x, of which the lesser side has three digits. */
function tidyShare(x) {
  const lesser = Number((1 / (1 + Math.exp(Math.abs(x)))).toPrecision(3));
  return x > 0 ? 1 - lesser : lesser;
}

/** Returns the number that a text stands for: 0.999, 1-1e-9, 99.9 %, inf; NaN where it is none. */
function read(text) {
  const plain = text.trim().replaceAll("−", "-").replace(/^\+?inf(inity)?$/i, "Infinity");
  const complement = /^1\s*-\s*(\S+)$/.exec(plain), percent = /^(\S+)\s*%$/.exec(plain);
  if (complement) return 1 - Number(complement[1]);
  return percent ? Number(percent[1]) / 100 : plain === "" ? NaN : Number(plain);
}

/** Returns a sentence on what is wrong with a number, or the empty text. */
function wrong(name, value, text = String(value)) {
  const [low, high, ends] = RANGES[name];
  const inside = (ends[0] === "[" ? value >= low : value > low) && (ends[1] === "]" ? value <= high : value < high);
  const whole = name !== "steps" || Number.isInteger(value);
  return inside && whole ? "" : `It must ${whole ? "" : "be a whole number and "}lie in ${ends[0]}${number(low)}, ${number(high)}${ends[1]}, got ${text || "nothing"}.`;
}

let state = structuredClone(START);

function ruleOf({ rule, options, c }) { return new rules[rule]({ ...GIVEN[rule], ...options, c }); }

/** Returns a rule as Python prints it and `--rule` takes it. */
function ruleText(rule) {
  const given = Object.entries(rule.constructor.fields).filter(([name, { value }]) => rule[name] !== value);
  const written = (value) => (typeof value === "boolean" ? (value ? "True" : "False") : String(value).replace("Infinity", "inf"));
  return `${rule.constructor.name}(${given.map(([name]) => `${name}=${written(rule[name])}`).join(", ")})`;
}

/** Returns the name and the arguments of a rule's text, or null where it names no rule of this page. */
function parseRule(text) {
  const found = /^\s*(\w+)\s*(?:\((.*)\)|:(.*))?\s*$/.exec(text);
  const name = found && ({ cap: "log_ratio_cap", clamp: "log_ratio_clamp" }[found[1]] ?? found[1]);
  if (!found || !Object.hasOwn(rules, name)) return null;
  const { fields } = rules[name], options = {};
  for (const part of (found[2] ?? found[3] ?? "").split(",").filter((one) => one.trim())) {
    const cut = part.lastIndexOf("="), key = cut < 0 ? Object.keys(fields)[0] : part.slice(0, cut).trim();
    const value = part.slice(cut + 1).trim().replace(/^['"]|['"]$/g, "");
    if (!Object.hasOwn(fields, key) || Object.hasOwn(options, key)) return null;
    if (fields[key].kind === "bool") options[key] = value.toLowerCase() === "true";
    else if (CHOICES[fields[key].kind]) options[key] = value;
    else options[key] = value === "None" ? null : read(value);
    if (CHOICES[fields[key].kind] && !CHOICES[fields[key].kind].includes(value)) return null;
    if (RANGES[key] && options[key] !== null && wrong(key, options[key])) return null;
  }
  return { name, options };
}

// The state in the address.

function toHash() {
  const given = { p: state.p, b: state.b, c: state.c, lam: state.lam, rule: ruleText(ruleOf(state)), steps: state.steps, rate: state.rate };
  return `#${Object.entries(given).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
}

/** Takes over the state of an address, and returns sentences on what in it could not be used. */
function fromHash(hash) {
  const problems = [], next = structuredClone(START);
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, "").replaceAll("+", "%2B"))) {
    if (name === "rule") {
      const found = parseRule(text);
      if (found && !new rules[found.name]({ ...GIVEN[found.name], ...found.options, c: 2 }).needs_rows) take(next, found);
      else problems.push(`The address names a rule that this page does not know, so ${START.rule} is shown.`);
    } else if (Object.hasOwn(START, name) && RANGES[name]) {
      const fault = wrong(name, read(text), text.slice(0, 40));
      if (fault) problems.push(`The address gives a ${name} that cannot be used. ${fault} ${START[name]} is shown.`);
      else next[name] = read(text);
    }
  }
  state = next;
  return problems;
}

function take(next, { name, options }) {
  const { c, ...others } = options;
  next.rule = name;
  next.options = others;
  if (c !== undefined && c !== null && !wrong("c", c)) next.c = c;
}

// What the formulas say.

/** Returns everything that the page shows about a state. */
function compute({ p, b, c, lam, rule: name, options }) {
  const rule = ruleOf({ rule: name, options, c });
  const modal = (at) => (name === "teacher_weight" && !rule.centred && at < 1 ? NaN : rule.student(p, b, at));
  // The tail's own mass with all its digits: modal token and tail exchange their roles.
  const tail = (at) => (name === "teacher_weight" && !rule.centred && at < 1 ? NaN : rule.student(1 - p, 1 - b, at));
  const fixedTail = (at) => bernoulli.fixed_point(1 - p, 1 - b, at);
  const [losing, dies] = p >= b ? ["tail", rule.dies(p, b)] : ["modal token", rule.dies(1 - p, 1 - b)];
  const kind = (at) => {
    if (at >= dies) return "dead";
    const [one, other] = [tail(at), fixedTail(at)];
    return Number.isNaN(one) || Math.abs(one - other) <= 1e-7 * Math.min(other, 1 - other) ? "kept" : "left";
  };
  const star = bernoulli.threshold(p, b, c), leaves = rule.leaves(p, b);
  const finite = [star, leaves, dies].filter((one) => one < 12 && one > 1).map((one) => one - 1);
  const high = Math.max(1 + 1.6 * Math.max(0.25, ...finite), 1.08 * lam);
  return { rule, modal, tail, fixedTail, losing, dies, kind, star, leaves, high, text: ruleText(rule), ratio: (at) => bernoulli.tail_ratio(p, b, at) };
}

const never = (value) => (value === Infinity ? "never" : number(value));
const NAMES = { kept: "at the fixed point", left: "away from the fixed point", dead: "one side is dead" };
const CAPPED = { kept: "preserving", left: "saturated", dead: "collapsing" };

function sentences({ p, b, c, lam }, found) {
  const ratio = found.ratio(lam), thin = ratio >= 1 ? `${number(ratio, 4)} times thinner` : `${number(1 / ratio, 4)} times thicker`;
  const first = p > b
    ? `At λ = ${number(lam)} the fixed point's tail is ${ratio === 1 ? "as thick as" : `${thin} than`} the teacher's; c = ${number(c)} allows λ up to λ* = ${number(found.star)}.`
    : `The base gives the token no less than the teacher does, so no λ above 1 thins the tail, and λ* is +inf; at λ = ${number(lam)} the tail is ${ratio === 1 ? "as thick as" : `${thin} than`} the teacher's.`;
  const kind = found.kind(lam);
  const regime = found.rule.constructor === rules.log_ratio_cap && !found.rule.through ? ` The regime is ${CAPPED[kind]}.` : "";
  const second = {
    kept: `Under ${found.text} training ends at the fixed point${found.rule.keeps_fixed_point ? " at every λ" : ""}.`,
    left: `Under ${found.text} training ends away from the fixed point, with a tail of ${number(found.tail(lam), 4)}.`,
    dead: `Under ${found.text} the ${found.losing} dies from λ = ${number(found.dies)} on: in the mean, training ends without it.`,
  }[kind];
  return { kind, text: `${first} ${second}${regime}` };
}

// Pictures.

function sampled(low, high, f, count = 240, cuts = []) {
  const at = Array.from({ length: count + 1 }, (_, i) => low + ((high - low) * i) / count);
  return [...at, ...cuts.filter((one) => one > low && one < high)].sort((one, other) => one - other).map((one) => [one, f(one)]);
}

function bandsOf(found) {
  const cuts = [0, 1, found.leaves, found.dies].filter((one) => one >= 0 && one < found.high);
  const ends = [...new Set(cuts), found.high].sort((one, other) => one - other);
  const capped = found.rule.constructor === rules.log_ratio_cap && !found.rule.through, bands = [];
  ends.slice(1).forEach((to, at) => {
    const kind = found.kind((ends[at] + to) / 2), last = bands.at(-1);
    if (last?.kind === kind) last.to = to;
    else bands.push({ from: ends[at], to, kind, name: capped ? `${CAPPED[kind]}: ${NAMES[kind]}` : NAMES[kind] });
  });
  return bands;
}

function drawRegimes(state, found, x) {
  const bands = bandsOf(found);
  const marks = [{ at: 0, label: "base" }, { at: 1, label: "teacher" }, { at: found.star, label: "λ*" }];
  if (found.leaves !== found.star) marks.push({ at: found.leaves, label: "leaves" });
  marks.push({ at: found.dies, label: "dies" }, { at: state.lam, label: `λ = ${number(state.lam, 4)}`, kind: "here" });
  const parts = bands.map(({ from, to, kind }) => `from ${number(from)} to ${number(to)} ${NAMES[kind]}`);
  draw(element("regimes"), {
    title: "Where training ends, by λ", x, y: { low: 0, high: 1, ticks: [] }, bands, marks, height: 150,
    caption: `Under ${found.text} the student ends, for λ ${parts.join(", ")}.`,
  });
}

function drawRatio(state, found, x) {
  const low = 10 ** Math.floor(Math.log10(Math.min(0.5, found.ratio(0), found.ratio(found.high))));
  const high = 10 ** Math.ceil(Math.log10(Math.max(10, Math.min(state.c * 20, 1e15), Math.min(found.ratio(state.lam) * 2, 1e15))));
  draw(element("ratio"), {
    title: "Tail ratio R(λ) of the fixed point", x, y: { low, high, log: true },
    lines: [{ points: sampled(0, found.high, found.ratio), kind: "first" }],
    levels: [{ at: state.c, label: `c = ${number(state.c, 4)}` }],
    marks: [{ at: found.star, label: "λ*" }, { at: state.lam, label: "λ", kind: "here" }],
    dots: [{ at: state.lam, value: found.ratio(state.lam) }],
    caption: `How many times thinner than the teacher's the fixed point's tail is. It is 1 at λ = 1, ${number(found.ratio(state.lam), 4)} at λ = ${number(state.lam)}, and reaches c = ${number(state.c)} at λ* = ${number(found.star)}.`,
  });
}

function drawStudent(state, found, x) {
  const edge = (1 - state.p) / state.c, points = sampled(0, found.high, found.tail, 240, [found.leaves, found.dies, found.dies - 1e-9]);
  const least = Math.max(1e-14, Math.min(edge, found.fixedTail(found.high), found.fixedTail(0), found.fixedTail(state.lam)) / 3);
  const low = 10 ** Math.floor(Math.log10(least)), here = found.tail(state.lam);
  const shown = found.kind(state.lam) === "dead" && found.losing === "tail" ? "0" : number(here, 4);
  draw(element("student"), {
    title: "The student's tail after converged training", x, y: { low, high: 1, log: true },
    lines: [{ points, kind: "first", name: "student" }, { points: sampled(0, found.high, found.fixedTail), kind: "second", name: "fixed point" }],
    levels: [{ at: edge, label: "clip edge (1−p)/c" }],
    marks: [{ at: found.star, label: "λ*" }, { at: found.dies, label: "dies" }, { at: state.lam, label: "λ", kind: "here" }],
    dots: [{ at: state.lam, value: here }],
    caption: `At λ = ${number(state.lam)} the student's tail is ${shown} and the fixed point's ${number(found.fixedTail(state.lam), 4)}; the teacher's is ${number(1 - state.p, 4)}. A curve on the lower border is a tail too thin to draw, or dead.`,
  });
}

function drawForce(state, found) {
  const { p, b, lam } = state, teacher = formulas.logit(p), base = formulas.logit(b), target = teacher + formulas.push(p, b, lam);
  const net = (rule) => (theta) => { const { modal, tail } = rule.force(theta, p, b, lam); return modal - tail; };
  const low = Math.min(teacher, base, target) - 2, high = Math.max(teacher, base, target) + 6;
  const own = sampled(low, high, net(found.rule)), free = sampled(low, high, net(new rules.none()));
  const limit = Math.max(...free.map(([, value]) => Math.abs(value)));
  const values = own.map(([, value]) => Math.max(-1.5 * limit, Math.min(1.5 * limit, value)));
  const bottom = Math.min(-1, ...values), top = Math.max(1, ...values);
  const dead = found.kind(lam) === "dead";
  // The end as log-odds: the logit of the lesser of its two masses.
  const [q, rest] = [found.modal(lam), found.tail(lam)], end = q < rest ? formulas.logit(q) : -formulas.logit(rest);
  draw(element("force"), {
    title: "The force on the student, by its log-odds", x: { low, high, label: "log-odds of the student's modal token" },
    y: { low: bottom, high: top },
    lines: [{ points: own, kind: "first", name: found.text }, { points: free, kind: "second", name: "none()" }],
    levels: [{ at: 0, label: "" }],
    marks: [{ at: base, label: "base" }, { at: teacher, label: "teacher" }, ...(dead ? [] : [{ at: end, label: "end", kind: "here" }])],
    dots: dead ? [] : [{ at: end, value: 0 }],
    caption: dead
      ? `The force F_m − F_τ at λ = ${number(lam)} does not come back to zero on the side of the ${p >= b ? "modal token" : "tail"}: nothing stops the student there, and the ${found.losing} dies.`
      : `Under natural gradient the log-odds move by F_m − F_τ: up where it is above zero, down where it is below. At λ = ${number(lam)} training from the base ends at log-odds ${number(end, 4)}.`,
  });
}

function drawBudget(state, found) {
  const { lam, steps, rate } = state, unit = budget._step_time(rate, "natural");
  const reach = (count) => flows.natural_threshold(found.star, count * unit);
  const high = found.star < Infinity ? Math.max(1.15 * lam, Math.min(reach(steps), 6) * 1.15, 1.5 * found.star) : 2;
  const points = Array.from({ length: 201 }, (_, i) => 10 ** (i / 40)).map((count) => [count, reach(count)]).filter(([, value]) => value <= high);
  let low = 0, top = 1e12;
  for (let round = 0; round < 100 && lam > found.star; round++) {
    const middle = (low + top) / 2;
    if (reach(middle) > lam) low = middle; else top = middle;
  }
  const taken = Math.floor(top);
  const caption = found.star === Infinity
    ? "There is no clip edge to reach: λ* is +inf."
    : `A run of ${steps} steps of size ${number(rate)} (budget s = ${number(steps * unit, 4)}, natural gradient) just reaches the clip edge at λ = ${number(reach(steps), 5)}; with more steps that falls to λ* = ${number(found.star)}. ` +
      (lam > found.star ? `At λ = ${number(lam)} the edge is reached after ${taken} steps.` : `At λ = ${number(lam)} it is never reached.`);
  draw(element("budget"), {
    title: "The λ that a finite budget allows", x: { low: 1, high: 1e5, log: true, label: "steps" },
    y: { low: Math.max(0, Math.min(found.star, lam, 2) - 0.2), high },
    lines: [{ points, kind: "first" }],
    levels: [...(found.star < Infinity ? [{ at: found.star, label: "λ*", right: true }] : []), { at: lam, label: "λ" }],
    marks: [{ at: steps, label: `${steps} steps`, kind: "here" }], dots: [{ at: steps, value: reach(steps) <= high ? reach(steps) : NaN }], caption,
  });
}

function drawTable(found) {
  const at = (text) => ({ text, number: true });
  const rows = sampled(0, found.high, found.ratio, 16, [1, found.leaves, found.dies]).map(([lam, ratio]) => [
    at(number(lam, 5)), at(number(ratio, 4)), at(number(found.fixedTail(lam), 4)),
    at(Number.isNaN(found.tail(lam)) ? "" : number(found.tail(lam), 4)), NAMES[found.kind(lam)],
  ]);
  element("table").lastElementChild.replaceChildren(table(["λ", "tail ratio R(λ)", "fixed point's tail", "student's tail", "the student ends"], rows));
}

function drawNumbers(state, found) {
  const { p, b, c, lam } = state, unit = budget._step_time(state.rate, "natural");
  const shown = {
    "λ*, the threshold": number(found.star, 12), "the student leaves the fixed point at λ": never(found.leaves),
    [`the ${found.losing} dies at λ`]: never(found.dies), "tail ratio R(λ)": number(found.ratio(lam), 8),
    "the teacher's tail 1−p": number(1 - p, 8), "the fixed point's tail": number(found.fixedTail(lam), 8),
    "the student's tail": found.kind(lam) === "dead" ? (found.losing === "tail" ? "0" : "1") : number(found.tail(lam), 8),
    "λ allowed by the budget": number(flows.natural_threshold(found.star, state.steps * unit), 8),
    "operating point with a margin of 10 %": number(bernoulli.operating_point(p, b, c, 0.1), 8),
  };
  element("numbers").replaceChildren(...Object.entries(shown).map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
}

// Controls.

let speaking = 0, writing = 0;

function show() {
  const found = compute(state), x = { low: 0, high: found.high, label: "extrapolation coefficient λ" };
  const { kind, text } = sentences(state, found);
  element("status").textContent = text;
  element("status").className = kind;
  element("summary").textContent = `${found.rule.constructor.summary} For the command line: --rule "${found.text}".`;
  drawNumbers(state, found);
  drawRegimes(state, found, x);
  drawRatio(state, found, x);
  drawStudent(state, found, x);
  drawForce(state, found);
  drawBudget(state, found);
  drawTable(found);
  clearTimeout(speaking);
  clearTimeout(writing);
  speaking = setTimeout(() => { element("spoken").textContent = text; }, 700);
  writing = setTimeout(() => history.replaceState(null, "", toHash()), 250);
}

function fill() {
  for (const name of Object.keys(SLIDERS)) {
    if (document.activeElement !== element(name)) element(name).value = String(state[name]).replace("Infinity", "inf");
    setSlider(name);
    mark(element(name), "");
  }
  element("rule").value = state.rule;
  fillOptions();
}

function setSlider(name) {
  const slider = element(`${name}-slider`);
  slider.value = SLIDERS[name].to(state[name]);
  slider.setAttribute("aria-valuetext", String(state[name]));
}

function mark(input, fault) {
  input.setAttribute("aria-invalid", String(fault !== ""));
  element(`${input.id}-error`).textContent = fault;
}

function fillOptions() {
  const rule = ruleOf(state), parts = [];
  for (const [name, { kind }] of Object.entries(rule.constructor.fields)) {
    if (!LABELS[name]) continue;
    if (kind === "bool") {
      const box = html("input", { type: "checkbox", id: name });
      box.checked = rule[name];
      box.addEventListener("change", () => { state.options[name] = box.checked; show(); });
      parts.push(html("label", { class: "choice" }, box, ` ${LABELS[name]}`));
    } else if (CHOICES[kind]) {
      const choice = html("select", { id: name }, ...CHOICES[kind].map((one) => html("option", { value: one }, one)));
      choice.value = rule[name];
      choice.addEventListener("change", () => { state.options[name] = choice.value; show(); });
      parts.push(html("div", { class: "control" }, html("label", { for: name }, LABELS[name]), choice));
    } else {
      const input = html("input", { id: name, inputmode: "decimal", "aria-describedby": `${name}-error` });
      input.value = String(rule[name]).replace("Infinity", "inf");
      parts.push(html("div", { class: "control" }, html("label", { for: name }, LABELS[name]), input, html("span", { class: "error", id: `${name}-error` })));
      input.addEventListener("input", () => typed(input, name, (value) => { state.options[name] = value; }));
    }
  }
  element("options").replaceChildren(...parts);
}

function typed(input, name, keep) {
  const value = read(input.value), fault = wrong(name, value, input.value);
  mark(input, fault);
  if (fault) return;
  keep(value);
  show();
}

function start() {
  element("rule").append(...Object.keys(rules).map((name) => html("option", { value: name }, `${TITLES[name]} – ${name}`)));
  for (const [name, { from }] of Object.entries(SLIDERS)) {
    element(name).addEventListener("input", () => typed(element(name), name, (value) => { state[name] = value; setSlider(name); }));
    element(`${name}-slider`).addEventListener("input", ({ target }) => {
      state[name] = from(Number(target.value));
      element(name).value = String(state[name]);
      target.setAttribute("aria-valuetext", String(state[name]));
      mark(element(name), "");
      show();
    });
  }
  element("rule").addEventListener("change", ({ target }) => { state.rule = target.value; state.options = {}; fillOptions(); show(); });
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  element("reset").addEventListener("click", () => set({}));
  element("link").addEventListener("click", copy);
  addEventListener("hashchange", load);
  let width = 0;
  new ResizeObserver(() => { if (width !== (width = element("figures").clientWidth)) show(); }).observe(element("figures"));
  load();
}

function load() {
  const problems = fromHash(location.hash);
  fill();
  show();
  element("copied").textContent = problems.join(" ");
}

async function copy() {
  history.replaceState(null, "", toHash());
  try {
    await navigator.clipboard.writeText(location.href);
    element("copied").textContent = "The link is copied.";
  } catch {
    element("copied").textContent = "The browser does not let this page copy; the address of the page is the link.";
  }
}

/** Shows a position of a report: some of p, b, c, lam, and the text of a rule. */
function set({ rule = null, ...given }) {
  state = { ...structuredClone(START), ...given };
  const found = rule === null ? null : parseRule(rule);
  if (found && !new rules[found.name]({ ...GIVEN[found.name], ...found.options, c: 2 }).needs_rows) take(state, found);
  fill();
  show();
}

Object.assign(globalThis.lambdaStar, { parseRule, ruleText, explore: set });
start();
})();
