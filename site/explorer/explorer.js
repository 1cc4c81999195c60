"use strict";
// The controls of the page.
(() => {
  const { CHOICES, START, drawAll, formulas, fromHash, html, read, ruleOf, rules, take, toHash, usable, wrong } =
    globalThis.lambdaStar;
  const element = (id) => document.getElementById(id);

  const TITLES = {
    none: "nothing (TRL's reverse KL, G-OPD)",
    log_ratio_cap: "log-ratio to the teacher, capped",
    log_ratio_clamp: "log-ratio to the teacher, clamped on both sides",
    log_prob_floor: "the student's log-probability, from below",
    kl_to_base_cap: "KL-to-base term, capped",
    advantage_clamp: "whole advantage, clamped",
    reward_clip: "reward, clipped",
    importance_weight: "truncated importance weight",
    ppo: "PPO's ratio",
    teacher_weight: "weight by the teacher's ratio, capped",
    top_k: "loss over the most probable token alone",
    truncated_sampling: "rollouts with top-p",
  };
  const LABELS = {
    bound: "Bound, in nats",
    eps: "Distance from 1 at which the ratio is clipped",
    top_p: "Share of the mass that is drawn from",
    through: "Differentiated through",
    centred: "A baseline is subtracted first",
    teacher: "Teacher in the log-ratio",
  };
  const SLIDERS = {
    p: { to: (p) => formulas.logit(p), from: (x) => tidyShare(x) },
    b: { to: (b) => formulas.logit(b), from: (x) => tidyShare(x) },
    c: { to: (c) => Math.log10(c - 1), from: (x) => 1 + Number((10 ** x).toPrecision(3)) },
    lam: { to: (lam) => lam, from: (x) => x },
    steps: { to: Math.log10, from: (x) => Math.round(10 ** x) },
    rate: { to: Math.log10, from: (x) => Number((10 ** x).toPrecision(3)) },
  };

  /** Returns the probability at log-odds x, of which the lesser side has three digits. */
  function tidyShare(x) {
    const lesser = Number((1 / (1 + Math.exp(Math.abs(x)))).toPrecision(3));
    return x > 0 ? 1 - lesser : lesser;
  }

  let state = structuredClone(START);
  let speaking = 0;
  let writing = 0;

  function show() {
    const { kind, text, rule, summary } = drawAll(state);
    element("status").textContent = text;
    element("status").className = kind;
    element("summary").textContent = `${summary} For the command line: --rule "${rule}".`;
    clearTimeout(speaking);
    clearTimeout(writing);
    speaking = setTimeout(() => (element("spoken").textContent = text), 700);
    writing = setTimeout(() => history.replaceState(null, "", toHash(state)), 250);
  }

  function fill() {
    for (const name of Object.keys(SLIDERS)) {
      if (document.activeElement !== element(name))
        element(name).value = String(state[name]).replace("Infinity", "inf");
      setSlider(name);
      mark(element(name), "");
    }
    element("rule").value = state.rule;
    fillOptions();
  }

  function setSlider(name) {
    const slider = element(`${name}-slider`);
    slider.value = Math.min(slider.max, Math.max(slider.min, SLIDERS[name].to(state[name])));
    slider.setAttribute("aria-valuetext", String(state[name]));
  }

  function mark(input, fault) {
    input.setAttribute("aria-invalid", String(fault !== ""));
    element(`${input.id}-error`).textContent = fault;
    showAge();
  }

  /** Says so where the answer is not that to all that is typed. */
  function showAge() {
    const old = document.querySelector("#controls [aria-invalid=true]") !== null;
    document.body.classList.toggle("old", old);
    element("answer-head").textContent = old ? "The answer to the last numbers that could be used" : "The answer";
  }

  function fillOptions() {
    const rule = ruleOf(state),
      parts = [];
    for (const [name, { kind }] of Object.entries(rule.constructor.fields)) {
      if (!LABELS[name]) continue;
      if (kind === "bool") {
        const box = html("input", { type: "checkbox", id: name });
        box.checked = rule[name];
        box.addEventListener("change", () => {
          state.options[name] = box.checked;
          show();
        });
        parts.push(html("label", { class: "choice" }, box, ` ${LABELS[name]}`));
      } else if (CHOICES[kind]) {
        const choice = html("select", { id: name }, ...CHOICES[kind].map((one) => html("option", { value: one }, one)));
        choice.value = rule[name];
        choice.addEventListener("change", () => {
          state.options[name] = choice.value;
          show();
        });
        parts.push(html("div", { class: "control" }, html("label", { for: name }, LABELS[name]), choice));
      } else {
        const input = html("input", { id: name, inputmode: "decimal", "aria-describedby": `${name}-error` });
        input.value = String(rule[name]).replace("Infinity", "inf");
        parts.push(
          html(
            "div",
            { class: "control" },
            html("label", { for: name }, LABELS[name]),
            input,
            html("span", { class: "error", id: `${name}-error` }),
          ),
        );
        input.addEventListener("input", () =>
          typed(input, name, (value) => {
            state.options[name] = value;
          }),
        );
      }
    }
    element("options").replaceChildren(...parts);
    showAge();
  }

  function typed(input, name, keep) {
    const value = read(input.value),
      fault = wrong(name, value, input.value);
    mark(input, fault);
    if (fault) return;
    keep(value);
    show();
  }

  function start() {
    element("rule").append(
      ...Object.keys(rules).map((name) => html("option", { value: name }, `${TITLES[name]} – ${name}`)),
    );
    for (const [name, { from }] of Object.entries(SLIDERS)) {
      element(name).addEventListener("input", () =>
        typed(element(name), name, (value) => {
          state[name] = value;
          setSlider(name);
        }),
      );
      element(`${name}-slider`).addEventListener("input", ({ target }) => {
        state[name] = from(Number(target.value));
        element(name).value = String(state[name]);
        target.setAttribute("aria-valuetext", String(state[name]));
        mark(element(name), "");
        show();
      });
    }
    element("rule").addEventListener("change", ({ target }) => {
      state.rule = target.value;
      state.options = {};
      fillOptions();
      show();
    });
    element("controls").addEventListener("submit", (event) => event.preventDefault());
    element("reset").addEventListener("click", () => set({}));
    element("link").addEventListener("click", copy);
    addEventListener("hashchange", () => location.hash.includes("=") && load());
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address is the state, and stays so
      element("answer").focus();
    });
    let width = 0;
    new ResizeObserver(() => {
      if (width !== (width = element("figures").clientWidth)) show();
    }).observe(element("figures"));
    load();
  }

  function load() {
    const found = fromHash(location.hash);
    state = found.state;
    fill();
    show();
    element("copied").textContent = found.problems.join(" ");
  }

  async function copy() {
    history.replaceState(null, "", toHash(state));
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
    const found = rule === null ? null : usable(rule);
    if (found) take(state, found);
    fill();
    show();
    const other = rule !== null && !found;
    element("copied").textContent = other
      ? `One position cannot show the rule of the report, so ${state.rule} is shown.`
      : "";
  }

  Object.assign(globalThis.lambdaStar, { explore: set });
  start();
})();
