"use strict";
// Pictures of curves as SVG, drawn at the width of their figure so that text keeps its size on a phone.
(() => {
  const SPACE = "http://www.w3.org/2000/svg";
  const LEFT = 62,
    RIGHT = 14,
    TOP = 18,
    BOTTOM = 40;

  /** Returns an SVG element with attributes and, as text alone, its content. */
  function svg(name, attributes = {}, text = null) {
    const made = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    return made;
  }

  /** Returns an HTML element with attributes and children; texts become text, never markup. */
  function html(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** Returns a text as nodes, in which what stands between backticks is code. */
  const words = (text) => text.split(/`([^`]+)`/).map((part, at) => (at % 2 ? html("code", {}, part) : part));

  /** Returns a number with up to `digits` significant digits, as Python's format "g" writes it. */
  function number(value, digits = 6) {
    if (Number.isNaN(value)) return "unknown";
    if (!Number.isFinite(value)) return value > 0 ? "+inf" : "−inf";
    if (value === 0) return "0";
    const size = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(digits)))));
    if (size >= -4 && size < digits) return String(Number(value.toPrecision(digits))).replace("-", "−");
    const [head, tail] = value.toExponential(digits - 1).split("e");
    return `${Number(head)}e${tail.replace("+", "")}`.replaceAll("-", "−");
  }

  /** Returns round numbers from `low` to `high`, about `count` of them. */
  function steps(low, high, count) {
    const raw = (high - low) / count,
      power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++)
      found.push(Number((at * step).toPrecision(12)));
    return found;
  }

  /** Returns powers of ten from `low` to `high`, at most about `count` of them. */
  function powers(low, high, count) {
    const first = Math.ceil(Math.log10(low) - 1e-9),
      last = Math.floor(Math.log10(high) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first) / count)),
      found = [];
    for (let at = first; at <= last; at += step) found.push(10 ** at);
    return found;
  }

  /** Returns the place of values on an axis between two pixels; past its ends they go on for so many lengths of it. */
  function scale({ low, high, log }, from, to, below = 0, beyond = 0) {
    const at = log ? Math.log : (x) => x;
    return (value) => {
      const share = (at(value) - at(low)) / (at(high) - at(low));
      return from + Math.min(1 + beyond, Math.max(-below, share)) * (to - from);
    };
  }

  function path(points, x, y) {
    let pen = false,
      text = "";
    for (const [one, other] of points) {
      if (Number.isNaN(one) || Number.isNaN(other)) {
        pen = false;
        continue;
      }
      text += `${pen ? "L" : "M"}${x(one).toFixed(2)} ${y(other).toFixed(2)}`;
      pen = true;
    }
    return text;
  }

  /** Places labels from left to right in as few rows as their widths allow, and draws them. */
  function labels(picture, given, width) {
    const ends = [];
    for (const { at, text } of [...given].sort((one, other) => one.at - other.at)) {
      const size = 6.6 * text.length,
        start = Math.min(Math.max(at - size / 2, 2), width - size - 2);
      let row = ends.findIndex((end) => end + 6 < start);
      if (row < 0) row = ends.length;
      ends[row] = start + size;
      picture.append(svg("text", { x: start, y: 12 + 14 * row }, text));
    }
    return ends.length;
  }

  /** Draws curves in a figure: {title, caption, x, y, lines, marks, levels, bands, dots, bars, legend}. */
  function draw(
    figure,
    { title, caption, x, y, lines = [], marks = [], levels = [], bands = [], dots = [], bars = [], height = 250 },
  ) {
    const width = Math.max(260, figure.clientWidth - 26),
      id = `${figure.id}-caption`;
    const inside = marks.filter(({ at }) => at >= x.low && at <= x.high);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": id });
    const across = scale(x, LEFT, width - RIGHT);
    const rows = labels(
      picture,
      inside.map(({ at, label }) => ({ at: across(at), text: label })),
      width,
    );
    const top = TOP + 14 * Math.max(0, rows - 1) + 4,
      bottom = height - BOTTOM,
      up = scale(y, bottom, top);
    for (const { from, to, kind } of bands) {
      const [start, end] = [across(from), across(to)];
      if (end > start)
        picture.prepend(svg("rect", { x: start, y: top, width: end - start, height: bottom - top, class: kind }));
    }
    const names = y.names ?? [];
    for (const at of y.ticks ?? (y.log ? powers(y.low, y.high, 6) : steps(y.low, y.high, 5))) {
      picture.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: up(at), y2: up(at), class: "grid" }));
      picture.append(
        svg("text", { x: LEFT - 6, y: up(at) + 4, "text-anchor": "end", class: "soft" }, names[at] ?? tick(at, y.log)),
      );
    }
    for (const at of x.ticks ?? (x.log ? powers(x.low, x.high, width / 70) : steps(x.low, x.high, width / 70))) {
      picture.append(svg("line", { x1: across(at), x2: across(at), y1: bottom, y2: bottom + 4, class: "axis" }));
      picture.append(
        svg("text", { x: across(at), y: bottom + 17, "text-anchor": "middle", class: "soft" }, tick(at, x.log)),
      );
    }
    picture.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom, class: "axis" }));
    picture.append(svg("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, x.label));
    for (const { at, label, right = false } of levels) {
      if (at < y.low || at > y.high) continue;
      picture.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: up(at), y2: up(at), class: "edge" }));
      const place = right ? { x: width - RIGHT - 3, "text-anchor": "end" } : { x: LEFT + 4 };
      picture.append(svg("text", { ...place, y: up(at) - 4 }, label));
    }
    for (const { at, kind = "edge" } of inside) {
      picture.append(svg("line", { x1: across(at), x2: across(at), y1: top, y2: bottom, class: kind }));
    }
    // A curve leaves the picture where it leaves the axis, but on a logarithmic axis 0 and what is near it stays below.
    const frame = svg("clipPath", { id: `${figure.id}-frame` });
    frame.append(svg("rect", { x: LEFT, y: top - 1, width: width - LEFT - RIGHT, height: bottom - top + 2 }));
    picture.append(frame);
    const rising = scale(y, bottom, top, y.log ? 0 : 1, 1),
      inFrame = `url(#${figure.id}-frame)`;
    for (const { points, kind } of lines) {
      picture.append(svg("path", { d: path(points, across, rising), class: `line ${kind}`, "clip-path": inFrame }));
    }
    for (const [from, to, at] of bars.map(({ from, to, at }) => [from, to, at])) {
      const flat = bars[0].flat;
      const ends = flat
        ? { x1: across(from), x2: across(to), y1: up(at), y2: up(at) }
        : { x1: across(at), x2: across(at), y1: up(from), y2: up(to) };
      picture.append(svg("line", { ...ends, class: "bar" }));
    }
    for (const { at, value, kind = "dot" } of dots) {
      if (Number.isNaN(at) || Number.isNaN(value)) continue;
      picture.append(svg("circle", { cx: across(at), cy: up(value), r: 4.5, class: kind }));
    }
    const legend = html("ul", { class: "legend" });
    for (const { name, kind } of lines) {
      if (!name) continue;
      const swatch = svg("svg", { viewBox: "0 0 32 12", "aria-hidden": "true" });
      swatch.append(svg("path", { d: "M0 6H32", class: `line ${kind}` }));
      legend.append(html("li", {}, swatch, name));
    }
    for (const { name, kind } of new Map(bands.map((band) => [band.kind, band])).values()) {
      if (!name) continue;
      const swatch = svg("svg", { viewBox: "0 0 32 12", "aria-hidden": "true" });
      swatch.append(svg("rect", { width: 32, height: 12, class: kind }));
      legend.append(html("li", {}, swatch, name));
    }
    const parts = [html("h3", {}, title), picture, ...(legend.children.length ? [legend] : [])];
    figure.replaceChildren(...parts, html("figcaption", { id }, caption));
  }

  function tick(value, log) {
    return log && (value < 1e-3 || value > 9999)
      ? `1e${String(Math.round(Math.log10(value))).replace("-", "−")}`
      : number(value, 4);
  }

  /** Returns a table with heads and rows of texts; a cell {text, number: true} stands to the right. */
  function table(heads, rows, caption = null) {
    const made = html("table");
    if (caption !== null) made.append(html("caption", {}, caption));
    const isNumber = (at) => rows.length && rows[0][at]?.number;
    made.append(
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          ...heads.map((head, at) => html("th", { scope: "col", ...(isNumber(at) ? { class: "number" } : {}) }, head)),
        ),
      ),
    );
    const body = rows.map((row) =>
      html(
        "tr",
        {},
        ...row.map((cell) => (cell.number ? html("td", { class: "number" }, cell.text) : html("td", {}, cell))),
      ),
    );
    made.append(html("tbody", {}, ...body));
    return made;
  }

  Object.assign(globalThis.lambdaStar, { draw, html, number, steps, table, words });
})();
