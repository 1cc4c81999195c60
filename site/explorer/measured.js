"use strict";
// What the page shows of a report or a rehearsal that the reader opened.
(() => {
  const { draw, html, judge, named, number, percent, readFile, shown, signed, table, words } =
    globalThis.lambdaStar;
  const MOST_CLASSES = 24; // in the picture
  const MOST_ROWS = 200; // in the table

  const cell = (text) => ({ text, number: true });
  const finite = (values) => values.filter((one) => Number.isFinite(one));
  const sentenceList = (texts, attributes = {}) =>
    html("ul", attributes, ...texts.map((one) => html("li", {}, ...words(shown(one)))));

  function verdictBox({ safety, reason, lam = NaN, set_lam = null, needed = NaN }) {
    const more = [];
    if (Number.isFinite(needed)) more.push(`It takes ${number(needed)} answers.`);
    if (set_lam === Infinity) more.push("Every λ is known to be safe.");
    else if (set_lam !== null && !Number.isNaN(set_lam) && set_lam !== lam)
      more.push(`Known to be safe is λ = ${number(set_lam)}.`);
    const head = Number.isNaN(lam) ? safety.toUpperCase() : `${safety.toUpperCase()} λ = ${number(lam)}`;
    return html("p", { class: `verdict ${safety}` }, html("b", {}, head), ...words(`: ${shown(reason)} ${more.join(" ")}`));
  }

  // A report.

  function showReport(report, name) {
    const { verdict, operating_point: point, advised, dies, quantile, confidence, clip, rule } = report;
    const limited = (found, what) =>
      !found
        ? `The report has no rule, so it does not say ${what}.`
        : Number.isNaN(found.value)
          ? `${number(found.answers)} answers are too few to say ${what}; it takes ${number(found.needed)}.`
          : null;
    const known = [
      limited(advised, `what the ${percent(quantile)} quantile of λ* is`) ??
        `With ${percent(confidence)} confidence at most ${percent(quantile)} of the answers have their least λ* below ${number(advised.value)}.`,
      limited(dies, "where tails die") ??
        (dies.value === Infinity
          ? `Under ${named(rule)} no tail dies in the mean.`
          : `Under ${named(rule)} tails die from λ = ${number(dies.value)} on in at most ${percent(quantile)} of the answers.`),
      limited(point, "which λ has a margin") ?? `The operating point is λ = ${number(point.value)}.`,
    ];
    const said = [
      `The binding class is ${named(report.binding)}.`,
      ...(verdict?.evidence ?? known),
      `${number(report.used)} positions of ${number(report.answers)} answers were used, at the clip c = ${number(clip)}.`,
    ];
    const [classes, spread] = ["classes", "spread"].map((id) => html("figure", { id: `${name}-${id}` }));
    const section = html(
      "section",
      {},
      html("h3", {}, `Report of ${named(report.source, 80)}`),
      verdict
        ? verdictBox(verdict)
        : html("p", {}, ...words("This report holds no verdict; `lambda-star decide report.json --lam 1.25` gives one.")),
      sentenceList([...said, ...report.skipped]),
      ...(report.warnings.length
        ? [html("h3", {}, "Warnings"), sentenceList(report.warnings, { class: "unknown" })]
        : []),
      html("div", { class: "figures" }, classes, spread),
      html("h3", {}, "Contract classes"),
      ...(report.classes.length > MOST_ROWS
        ? [html("p", {}, `The ${MOST_ROWS} of ${report.classes.length} that stand first in the report.`)]
        : []),
      classTable(report),
      html("h3", {}, "The worst positions, in their answers"),
      worstList(report),
      ...leftOut(report.problems, report.problem_count),
    );
    return {
      section,
      draw: () => {
        drawClasses(classes, report);
        drawSpread(spread, report);
      },
    };
  }

  function leftOut(problems, count = problems.length) {
    if (!count) return [];
    const more = count > 10 ? [`… and ${count - Math.min(10, problems.length)} more`] : [];
    return [html("h3", {}, "Lines left out"), sentenceList([...problems.slice(0, 10), ...more])];
  }

  function marksOf({ operating_point: point, lam }) {
    return [
      ...(Number.isFinite(point?.value) ? [{ at: point.value, label: "operating point" }] : []),
      ...(Number.isFinite(lam) ? [{ at: lam, label: `λ = ${number(lam, 4)}`, kind: "here" }] : []),
    ];
  }

  function drawClasses(figure, report) {
    const classes = report.classes.slice(0, MOST_CLASSES),
      last = classes.length;
    const level = ({ quantiles }, wanted) => quantiles.find(([one]) => one === wanted)?.[1] ?? NaN;
    const known = finite(classes.flatMap((one) => [one.least, one.median, one.value]));
    const high = 1.08 * Math.max(1.1, Math.min(4, Math.max(...known, 1))),
      inside = (value) => Math.min(value, high);
    const rows = classes.map((one, at) => ({ one, at: last - at }));
    draw(figure, {
      title: "λ* of the positions, by contract class",
      x: { low: Math.min(1, ...known), high, label: "threshold λ*" },
      y: {
        low: 0.4,
        high: last + 0.6,
        ticks: rows.map(({ at }) => at),
        names: Object.fromEntries(rows.map(({ one, at }) => [at, named(one.name, 8)])),
      },
      bars: rows
        .filter(({ one }) => one.least <= high)
        .map(({ one, at }) => ({
          from: one.least,
          to: inside(Number.isNaN(level(one, 0.9)) ? one.median : level(one, 0.9)),
          at,
          flat: true,
        })),
      dots: rows.flatMap(({ one, at }) => [
        { at: one.median <= high ? one.median : NaN, value: at, kind: "ring" },
        { at: one.value <= high ? one.value : NaN, value: at },
      ]),
      marks: marksOf(report),
      height: Math.max(150, 80 + 26 * last),
      caption:
        "Each line runs from the least λ* of the class to the 90 % quantile of its positions (up to the right border where that is off the picture); a ring is the median, a filled point λ* at the mean of the tails." +
        (report.classes.length > last ? ` The ${last} classes with the least λ* are shown.` : ""),
    });
  }

  function drawSpread(figure, report) {
    const both = { "by position": report.by_position, "by answer": report.by_answer };
    const known = finite(Object.values(both).flatMap(({ quantiles }) => quantiles.map(([, value]) => value)));
    const high = Math.min(6, 1.05 * Math.max(1.1, ...known));
    draw(figure, {
      title: "The distribution of λ*",
      x: { low: Math.min(1, ...known), high, label: "threshold λ*" },
      y: { low: 0, high: 1 },
      lines: Object.entries(both).map(([name, { quantiles }], at) => ({
        name,
        kind: ["first", "second"][at],
        points: quantiles.map(([share, value]) => [value <= high ? value : NaN, share]),
      })),
      marks: marksOf(report),
      caption:
        "The share of positions, and of answers, whose λ* is at most this. λ* of an answer is the least of its positions.",
    });
  }

  function classTable(report) {
    const rows = report.classes.slice(0, MOST_ROWS).map((one) => {
      const choose = html("button", { type: "button" }, "Explore");
      choose.setAttribute("aria-label", `Explore the class ${named(one.name)} above`);
      choose.addEventListener("click", () => {
        const usable = one.p > 0 && one.p < 1 && one.b > 0 && one.b < 1;
        globalThis.lambdaStar.explore({
          ...(usable ? { p: one.p, b: one.b } : {}),
          c: report.clip,
          ...(Number.isFinite(report.lam) && report.lam >= 0 ? { lam: report.lam } : {}),
          rule: report.rule,
        });
        document.getElementById("answer").focus();
      });
      const interval = Number.isNaN(one.low) ? "one answer only" : `${number(one.low)} to ${number(one.high)}`;
      return [
        named(one.name),
        cell(number(one.positions)),
        cell(number(one.answers)),
        cell(number(1 - one.p, 3)),
        cell(number(one.b, 4)),
        cell(number(one.value)),
        cell(interval),
        cell(number(one.least)),
        cell(number(one.median)),
        ...(report.rule === null ? [] : [cell(one.dies === Infinity ? "never" : number(one.dies))]),
        choose,
      ];
    });
    const heads = [
      "class",
      "positions",
      "answers",
      "1−p",
      "b",
      "λ*",
      `${percent(report.confidence)} interval`,
      "least λ*",
      "median",
      ...(report.rule === null ? [] : ["tail dies"]),
      "",
    ];
    return html(
      "div",
      { class: "wide", tabindex: "0", role: "region", "aria-label": "Contract classes" },
      table(heads, rows),
    );
  }

  function worstList({ worst }) {
    return html(
      "ol",
      { class: "worst" },
      ...worst.map(({ place, value, label, before, after }) =>
        html(
          "li",
          {},
          `λ* = ${number(value)}, class ${named(label)}, answer ${named(place.sequence)}, position ${number(place.position)}`,
          html("div", { class: "answer" }, shown(before), html("mark", {}, shown(place.modal))),
          html("div", { class: "note" }, "sampled there: ", html("span", { class: "answer" }, shown(after))),
        ),
      ),
    );
  }

  // A rehearsal.

  function showRehearsal(rehearsal, name) {
    const { points, whole } = judge(rehearsal),
      { header } = rehearsal;
    const budget =
      typeof header.budget === "number" ? ` for a run that is stopped at flow time ${number(header.budget)}` : "";
    const of = (key) => (typeof header[key] === "string" ? named(header[key], 60) : "none");
    const said = [
      `The teacher is ${of("teacher")}, the base ${of("base")}, the rule ${of("rule")} and the contract ${of("contract")}.`,
      `The verdict holds${budget} at a tolerance of 5 % of valid answers against λ = 1 and 95 % confidence. It is that of lambda-star decide without a report.`,
    ];
    const figure = html("figure", { id: `${name}-curve` });
    const metrics = [...new Set(points.flatMap((one) => [...one.metrics.keys()]))];
    const range = ({ value, low, high }, write) =>
      Number.isNaN(value) ? "unknown" : `${write(value)} (${write(low)} to ${write(high)})`;
    const rows = points.map((one) => [
      cell(number(one.lam)),
      cell(number(one.answers)),
      cell(range(one.valid, percent)),
      cell(one.lam === 1 ? "" : range(one.change, (share) => `${signed(share)} %`)),
      ...metrics.map((metric) => cell(one.metrics.has(metric) ? number(one.metrics.get(metric), 4) : "")),
      cell(percent(one.cut)),
      html("span", { class: one.verdict.safety }, one.verdict.safety),
      html("span", { class: "sentence" }, ...words(one.verdict.reason)),
    ]);
    const heads = [
      "λ",
      "answers",
      "valid",
      "change from λ = 1",
      ...metrics.map((metric) => named(metric)),
      "cut",
      "verdict",
      "reason",
    ];
    const section = html(
      "section",
      {},
      html("h3", {}, `Rehearsal: ${rehearsal.byLam.size} λ`),
      verdictBox({ ...whole, lam: whole.safety === "safe" ? whole.set_lam : NaN }),
      sentenceList(said),
      html("div", { class: "figures" }, figure),
      html(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": "The rehearsed λ" },
        table(heads, rows),
      ),
      ...leftOut(rehearsal.problems),
    );
    return { section, draw: () => drawCurve(figure, points, metrics) };
  }

  function drawCurve(figure, points, metrics) {
    const lams = points.map(({ lam }) => lam),
      judged = points.filter(({ valid }) => !Number.isNaN(valid.value));
    const shares = metrics
      .filter((name) =>
        points.every((one) => !one.metrics.has(name) || (one.metrics.get(name) >= 0 && one.metrics.get(name) <= 1)),
      )
      .slice(0, 2);
    const low = Math.min(...lams),
      high = Math.max(...lams),
      pad = 0.05 * Math.max(high - low, 0.5);
    const valid = judged.length
      ? [{ name: "valid answers", kind: "first", points: judged.map(({ lam, valid: { value } }) => [lam, value]) }]
      : [];
    draw(figure, {
      title: "The rehearsed curve",
      x: { low: low - pad, high: high + pad, label: "extrapolation coefficient λ" },
      y: { low: 0, high: 1 },
      lines: [
        ...valid,
        ...shares.map((name, at) => ({
          name: named(name),
          kind: ["second", "third"][at],
          points: points.filter((one) => one.metrics.has(name)).map((one) => [one.lam, one.metrics.get(name)]),
        })),
      ],
      bars: judged.map(({ lam, valid: ends }) => ({ from: ends.low, to: ends.high, at: lam })),
      dots: judged.map(({ lam, valid: { value } }) => ({ at: lam, value })),
      marks: [{ at: 1, label: "teacher" }],
      caption: judged.length
        ? "The share of valid answers of the predicted student at each λ, with exact 95 % intervals."
        : "Without a contract no answer is judged.",
    });
  }

  // Files that are chosen or dropped.

  let open = [];

  async function take(files) {
    const read = document.getElementById("read"),
      target = document.getElementById("measured");
    read.className = "";
    read.textContent = "Reading …";
    const found = await Promise.all([...files].map(readFile));
    const problems = found.filter(({ problem }) => problem).map(({ problem }) => problem);
    const shownFiles = found.filter(({ problem }) => !problem);
    open = shownFiles.map(({ report, rehearsal }, at) =>
      report ? showReport(report, `file-${at}`) : showRehearsal(rehearsal, `file-${at}`),
    );
    target.replaceChildren(...open.map(({ section }) => section));
    for (const one of open) one.draw();
    const both = shownFiles.some(({ report }) => report) && shownFiles.some(({ rehearsal }) => rehearsal);
    read.className = problems.length ? "problem" : "";
    const said = [
      ...shownFiles.map(({ name, report }) => `${name} is read: a ${report ? "report" : "rehearsal"}.`),
      ...problems,
      ...(both ? ["`lambda-star decide REPORT --rehearsal FILE` joins the two in one verdict."] : []),
    ];
    read.replaceChildren(...words(said.join(" ")));
  }

  function start() {
    const drop = document.getElementById("drop"),
      input = document.getElementById("file");
    input.addEventListener("change", () => input.files.length && take(input.files));
    for (const [name, over] of [
      ["dragenter", true],
      ["dragover", true],
      ["dragleave", false],
      ["drop", false],
    ]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", over);
      });
    }
    drop.addEventListener("drop", ({ dataTransfer }) => dataTransfer.files.length && take(dataTransfer.files));
    // A file that misses the field must not replace the page.
    for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
    let width = 0;
    new ResizeObserver(() => {
      if (width !== (width = drop.clientWidth)) for (const one of open) one.draw();
    }).observe(drop);
  }

  start();
})();
