"use strict";
// The state of the page: the numbers of one position, an update rule, and their form in the address.
(() => {
  const { number, rules } = globalThis.lambdaStar;

  const START = { p: 0.999, b: 0.5, c: 5, lam: 1.25, rule: "log_ratio_cap", options: {}, steps: 200, rate: 0.01 };
  const CHOICES = { Teacher: ["plain", "extrapolated"] };
  const GIVEN = {
    log_ratio_clamp: { bound: 5 },
    log_prob_floor: { bound: 8 },
    advantage_clamp: { bound: 1 },
    reward_clip: { bound: 2 },
    top_k: { k: 1 },
    truncated_sampling: { top_p: 0.95 },
  };
  const RANGES = {
    p: [0, 1, "()"],
    b: [0, 1, "()"],
    c: [1, Infinity, "[]"],
    lam: [0, 1000, "[]"],
    steps: [1, 1e9, "[]"],
    rate: [0, 1, "(]"],
    bound: [0, Infinity, "(]"],
    eps: [0, Infinity, "()"],
    top_p: [0, 1, "(]"],
  };

  /** Returns the number that a text stands for: 0.999, 1-1e-9, 99.9 %, inf; NaN where it is none. */
  function read(text) {
    const plain = text
      .trim()
      .replaceAll("−", "-")
      .replace(/^\+?inf(inity)?$/i, "Infinity");
    const complement = /^1\s*-\s*(\S+)$/.exec(plain),
      percent = /^(\S+)\s*%$/.exec(plain);
    if (complement) return 1 - Number(complement[1]);
    return percent ? Number(percent[1]) / 100 : plain === "" ? NaN : Number(plain);
  }

  /** Returns a sentence on what is wrong with a number, or the empty text. */
  function wrong(name, value, text = String(value)) {
    if (Number.isNaN(value)) return `It must be a number with a decimal point, got ${text || "nothing"}.`;
    const [low, high, ends] = RANGES[name];
    const inside = (ends[0] === "[" ? value >= low : value > low) && (ends[1] === "]" ? value <= high : value < high);
    const whole = name !== "steps" || Number.isInteger(value);
    return inside && whole
      ? ""
      : `It must ${whole ? "" : "be a whole number and "}lie in ${ends[0]}${number(low)}, ${number(high)}${ends[1]}, got ${text}.`;
  }

  function ruleOf({ rule, options, c }) {
    return new rules[rule]({ ...GIVEN[rule], ...options, c });
  }

  /** Returns a rule as Python prints it and `--rule` takes it. */
  function ruleText(rule) {
    const given = Object.entries(rule.constructor.fields).filter(([name, { value }]) => rule[name] !== value);
    const written = (value) =>
      typeof value === "boolean" ? (value ? "True" : "False") : String(value).replace("Infinity", "inf");
    return `${rule.constructor.name}(${given.map(([name]) => `${name}=${written(rule[name])}`).join(", ")})`;
  }

  /** Returns the name and the arguments of a rule's text, or null where it names no rule of this page. */
  function parseRule(text) {
    const found = /^\s*(\w+)\s*(?:\((.*)\)|:(.*))?\s*$/.exec(text);
    const name = found && ({ cap: "log_ratio_cap", clamp: "log_ratio_clamp" }[found[1]] ?? found[1]);
    if (!found || !Object.hasOwn(rules, name)) return null;
    const { fields } = rules[name],
      options = {};
    for (const part of (found[2] ?? found[3] ?? "").split(",").filter((one) => one.trim())) {
      const cut = part.lastIndexOf("="),
        key = cut < 0 ? Object.keys(fields)[0] : part.slice(0, cut).trim();
      const value = part
        .slice(cut + 1)
        .trim()
        .replace(/^['"]|['"]$/g, "");
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

  /** Returns a state as the fragment of an address. */
  function toHash(state) {
    const given = {
      p: state.p,
      b: state.b,
      c: state.c,
      lam: state.lam,
      rule: ruleText(ruleOf(state)),
      steps: state.steps,
      rate: state.rate,
    };
    return `#${Object.entries(given)
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
      .join("&")}`;
  }

  /** Returns the state that an address holds, with sentences on what in it could not be used. */
  function fromHash(hash) {
    const problems = [],
      next = structuredClone(START);
    for (const [name, text] of new URLSearchParams(hash.replace(/^#/, "").replaceAll("+", "%2B"))) {
      if (name === "rule") {
        const found = usable(text);
        if (found) take(next, found);
        else problems.push(`The address names a rule that this page does not know, so ${START.rule} is shown.`);
      } else if (Object.hasOwn(START, name) && RANGES[name]) {
        const fault = wrong(name, read(text), text.slice(0, 40));
        if (fault) problems.push(`The address gives a ${name} that cannot be used. ${fault} ${START[name]} is shown.`);
        else next[name] = read(text);
      }
    }
    return { state: next, problems };
  }

  /** Returns a rule that one position can show, or null. */
  function usable(text) {
    const found = parseRule(text);
    const rule = found && new rules[found.name]({ ...GIVEN[found.name], ...found.options, c: 2 });
    return rule && !rule.needs_rows ? found : null;
  }

  /** Takes a rule into a state, with its c, which is the c of the page. */
  function take(next, { name, options }) {
    const { c, ...others } = options;
    next.rule = name;
    next.options = others;
    if (c !== undefined && c !== null && !wrong("c", c)) next.c = c;
  }

  Object.assign(globalThis.lambdaStar, {
    CHOICES,
    RANGES,
    START,
    fromHash,
    parseRule,
    read,
    ruleOf,
    ruleText,
    take,
    toHash,
    usable,
    wrong,
  });
})();
