// What the tests ask of the page in the browser; `conftest.check` calls these by name.
({
  // Values of the formulas at rows of p, b, c, λ, time and θ, as texts.
  evaluate({ points, rules }) {
    const { bernoulli, regimes, flows, rules: known, parseRule } = lambdaStar,
      found = {};
    const all = (f) => points.map((row) => f(...row)).join(" ");
    for (const name of ["threshold", "excess", "two_sided_threshold"]) {
      found[name] = all((p, b, c) => bernoulli[name](p, b, c));
    }
    for (const name of ["tail_ratio", "fixed_point"]) found[name] = all((p, b, c, lam) => bernoulli[name](p, b, lam));
    for (const name of ["collapse_point", "cliff_width"]) found[name] = all((p, b, c) => regimes[name](p, b, c));
    found.operating_point = all((p, b, c) => bernoulli.operating_point(p, b, c, 0.25));
    found.stationary_student = all((p, b, c, lam) => regimes.stationary_student(p, b, c, lam));
    found.budget_threshold = all((p, b, c, lam, time) => flows.natural_threshold(bernoulli.threshold(p, b, c), time));
    for (const text of rules) {
      const { name, options } = parseRule(text),
        rule = new known[name](options);
      for (const what of ["leaves", "dies"]) found[`${text} ${what}`] = all((p, b) => rule[what](p, b));
      found[`${text} student`] = all((p, b, c, lam) => rule.student(p, b, lam));
      // A rule with its two sides exchanged leads to the other mass, and the two are one whole.
      found[`${text} whole`] = all((p, b, c, lam) => rule.student(p, b, lam) + rule.student(1 - p, 1 - b, lam));
      const force = (side) => (p, b, c, lam, time, theta) => rule.force(theta, p, b, lam)[side];
      for (const side of ["modal", "tail"]) found[`${text} ${side}`] = all(force(side));
    }
    return found;
  },

  // The controls without a name for those who hear the page.
  nameless() {
    const labelled = (one) => [...(one.labels ?? [])].some((label) => label.textContent.trim());
    const controls = document.querySelectorAll("input, select, button, a, summary, [tabindex='0']");
    const bare = (one) => !(one.getAttribute("aria-label") || one.textContent.trim() || labelled(one));
    return [...controls].filter(bare).map((one) => one.outerHTML);
  },

  // The role and the text of each picture.
  pictures() {
    const text = (one) => document.getElementById(one.getAttribute("aria-labelledby"))?.textContent ?? "";
    return [...document.querySelectorAll("figure > svg")].map((one) => [one.getAttribute("role"), text(one)]);
  },

  // The texts whose contrast to what is behind them is below the 4.5 of WCAG's level AA.
  pale() {
    const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
      const [r, g, b] = colour.match(/[\d.]+/g).map((one) => linear(one / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
      const colour = getComputedStyle(one).backgroundColor;
      return /, 0\)$/.test(colour) ? behind(one.parentElement) : colour;
    };
    const own = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
      if (!own(one) || !one.getClientRects().length) continue;
      const { fill, color } = getComputedStyle(one),
        ink = one.namespaceURI.includes("svg") ? fill : color;
      const [low, high] = [light(ink), light(behind(one))].sort((a, b) => a - b);
      if ((high + 0.05) / (low + 0.05) < 4.5) found.push(`${one.tagName}: ${one.textContent.trim().slice(0, 40)}`);
    }
    return found;
  },

  // The texts of the table that is shown of a file, its head first.
  rows() {
    const rows = document.querySelectorAll("#measured tr");
    return [...rows].map((row) => [...row.children].map((one) => one.innerText));
  },

  numbers() {
    const rows = document.querySelectorAll("#numbers > div");
    return Object.fromEntries([...rows].map((row) => [...row.children].map((one) => one.innerText)));
  },

  intervals(cases) {
    return cases.map(([successes, trials]) => lambdaStar.exactShare(successes, trials, 0.975));
  },

  drop(text) {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], "dropped.json"));
    const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector("#drop").dispatchEvent(event);
  },
});
