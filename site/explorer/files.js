"use strict";
// Reading a report or a rehearsal that the reader opened. The text in it is not trusted: it becomes data here, and text
// nodes in the page.
(() => {
  const REPORT = "lambda-star/calibrate/2",
    REHEARSAL = "lambda-star/rehearsal/1";
  const WRITE_REPORT = "write it with `lambda-star calibrate TABLE --json report.json`";
  const WRITE_REHEARSAL = "write it with `lambda-star rehearse --out rehearsal.jsonl`";
  const MOST_BYTES = 400e6;

  /** Something that is wrong with a file, as a sentence that says what to do. */
  class Problem extends Error {}

  /** Returns a text on one line in which every character is seen, as `lambda_star._core.text.shown` does. */
  function shown(text) {
    const hidden =
      /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]/gu;
    return text.replace(hidden, (one) => {
      const code = one.codePointAt(0),
        hex = code.toString(16);
      if (one === " ") return one;
      if (code < 0x100) return { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[one] ?? `\\x${hex.padStart(2, "0")}`;
      return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
    });
  }

  /** Returns a name as it is shown: cut in the middle where it is long, in quotes where its ends could not be seen. */
  function named(text, most = 40) {
    const seen = [...shown(text)],
      half = Math.floor((most - 1) / 2);
    const short = seen.length > most ? `${seen.slice(0, half).join("")}…${seen.slice(-half).join("")}` : seen.join("");
    return short !== "" && short === short.trim() ? short : `'${short}'`;
  }

  // What the values of a file must be.

  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const isText = (value) => typeof value === "string";
  const isNumber = (value) => typeof value === "number";
  const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

  /** Returns a value of a report, or throws the sentence that it is not there or not what it must be. */
  function take(values, key, convert) {
    const value = isObject(values) && Object.hasOwn(values, key) ? values[key] : undefined;
    const found = convert(value);
    if (found === undefined)
      throw new Problem(`its ${key} ${value === undefined ? "is missing" : "is not as this version writes it"}`);
    return found;
  }

  const text = (value) => (isText(value) ? value : undefined);
  const optionalText = (value) => (value === null || isText(value) ? value : undefined);
  const number = (value) =>
    ({ inf: Infinity, "-inf": -Infinity })[value] ?? (value === null ? NaN : isNumber(value) ? value : undefined);
  const optional = (value) => (value === undefined ? NaN : number(value));
  const list = (convert) => (value) => (Array.isArray(value) ? value.map(convert) : undefined);
  const limit = (value) =>
    isObject(value)
      ? fields(value, { value: number, estimate: number, high: number, answers: number, needed: number })
      : value === null
        ? null
        : undefined;
  const quantiles = (value) =>
    isObject(value)
      ? Object.entries(value)
          .map(([level, at]) => [Number(level), take({ quantile: at }, "quantile", number)])
          .sort(([one], [other]) => one - other)
      : undefined;
  const distribution = (value) =>
    isObject(value)
      ? { count: take(value, "count", number), quantiles: take(value, "quantiles", quantiles) }
      : undefined;

  function fields(values, wanted) {
    return Object.fromEntries(Object.entries(wanted).map(([key, convert]) => [key, take(values, key, convert)]));
  }

  const classes = list((value) => ({
    ...fields(value, {
      name: text,
      positions: number,
      answers: number,
      p: number,
      b: number,
      value: number,
      low: number,
      high: number,
      least: number,
      median: number,
    }),
    dies: take(value, "dies", number),
    quantiles: value.quantiles === undefined ? [] : take(value, "quantiles", quantiles),
  }));
  const worst = list((value) => ({
    ...fields(value, { value: number, label: text, before: text, after: text }),
    place: take(value, "place", (place) =>
      isObject(place) ? fields(place, { sequence: text, position: number, modal: text }) : undefined,
    ),
  }));
  const verdict = (value) =>
    value === undefined || value === null
      ? null
      : isObject(value)
        ? {
            ...fields(value, {
              safety: (safety) => (["safe", "unsafe", "unknown"].includes(safety) ? safety : undefined),
              reason: text,
              lam: number,
              set_lam: number,
            }),
            needed: optional(value.needed),
            evidence: take(
              value,
              "evidence",
              list((one) => String(one)),
            ),
          }
        : undefined;
  const warnings = list((value) =>
    Array.isArray(value)
      ? value.map(String).join("; ")
      : isObject(value)
        ? ["name", "message", "remedy"].map((key) => take(value, key, text)).join("; ")
        : String(value),
  );
  const problems = list((value) =>
    isObject(value) ? `line ${optional(value.line)}: ${take(value, "message", text)}` : String(value),
  );

  /** Returns the numbers of a report that the page shows. */
  function readReport(values) {
    if (values.schema !== REPORT || (isObject(values.advised) && Object.hasOwn(values.advised, "low"))) {
      throw new Problem(
        `it is a report of another version, ${named(String(values.schema))}; calibrate again with this one`,
      );
    }
    try {
      const found = fields(values, {
        source: text,
        binding: text,
        clip: number,
        rule: optionalText,
        lam: number,
        quantile: number,
        confidence: number,
        answers: number,
        used: number,
        classes,
        by_position: distribution,
        by_answer: distribution,
        advised: limit,
        operating_point: limit,
        dies: limit,
        worst,
        warnings,
        problems,
        problem_count: number,
      });
      const skipped = Object.entries(isObject(values.skipped) ? values.skipped : {}).map(
        ([reason, count]) => `${Number(count)} rows were not used: ${reason}.`,
      );
      if (!found.classes.length) throw new Problem("it has no contract class");
      return { ...found, skipped, verdict: take({ verdict: values.verdict ?? null }, "verdict", verdict) };
    } catch (error) {
      if (error instanceof Problem) throw new Problem(`${error.message}; ${WRITE_REPORT}`);
      throw error;
    }
  }

  // Rehearsals.

  const CHECKS = [
    ["lam", (value) => isNumber(value) && value >= 0, "a number of at least 0"],
    ["prompt", isCount, "a whole number of at least 0"],
    ["sample", isCount, "a whole number of at least 0"],
    ["tokens", isCount, "a whole number of at least 0"],
    ["text", isText, "text"],
    ["ended", (value) => typeof value === "boolean", "true or false"],
    ["valid", (value) => value === null || typeof value === "boolean", "true, false or left out"],
    ["broken_at", (value) => value === null || isCount(value), "a whole number of at least 0, or left out"],
    ["broken_class", (value) => value === null || isText(value), "text or left out"],
    ["metrics", (value) => isObject(value) && Object.values(value).every(isNumber), "numbers by name"],
  ];
  const DEFAULTS = { valid: null, broken_at: null, broken_class: null, metrics: {} };

  /** Returns the answer in a line, or a text that says what is wrong with it. */
  function readAnswer(line) {
    let values;
    try {
      values = JSON.parse(line);
    } catch {
      return "the line is not JSON";
    }
    if (!isObject(values)) return "the line is not an answer";
    const answer = { ...DEFAULTS, ...values };
    const unknown = Object.keys(values).find((key) => !CHECKS.some(([name]) => name === key));
    if (unknown !== undefined) return `an answer has no ${named(unknown)}`;
    for (const [name, holds, what] of CHECKS) if (!holds(answer[name])) return `${name} must be ${what}`;
    return answer;
  }

  /** Returns a rehearsal: its header, its answers by λ, and the lines that were left out. */
  function readRehearsal(content) {
    const lines = content.split("\n"),
      cut = lines.pop(),
      byLam = new Map(),
      left = [];
    const header = JSON.parse(lines[0] ?? cut);
    lines.forEach((line, at) => {
      if (at === 0) return;
      let answer = readAnswer(line);
      if (!isText(answer)) {
        const key = `${answer.prompt} ${answer.sample}`,
          answers = byLam.get(answer.lam) ?? byLam.set(answer.lam, new Map()).get(answer.lam);
        if (answers.has(key)) answer = "the same λ, prompt and sample came before";
        else answers.set(key, answer);
      }
      if (isText(answer)) left.push(`line ${at + 1}: ${answer}; it was left out.`);
    });
    if (cut && lines.length) left.push(`line ${lines.length + 1}: the line is cut; it was left out.`);
    if (!byLam.size) throw new Problem("it holds no answer yet; let the rehearsal run, and open the file again");
    if (![null, undefined].includes(header.rule) && !isText(header.rule))
      throw new Problem(`its rule is not text; ${WRITE_REHEARSAL}`);
    return { header, byLam: new Map([...byLam].sort(([one], [other]) => one - other)), problems: left };
  }

  /** Returns {report} or {rehearsal}, or throws a Problem that says what the file is and what to do. */
  function readText(content) {
    const plain = content.replace(/^\ufeff/, "");
    if (!plain.trim()) throw new Problem(`it is empty; ${WRITE_REPORT}`);
    const values = parsed(plain) ?? parsed(plain.slice(0, plain.indexOf("\n") < 0 ? undefined : plain.indexOf("\n")));
    if (!isObject(values))
      throw new Problem(`it is neither the JSON of a report nor a rehearsal; ${WRITE_REPORT}, or ${WRITE_REHEARSAL}`);
    const schema = isText(values.schema) ? values.schema : "";
    if (schema === REHEARSAL) return { rehearsal: readRehearsal(plain) };
    if (schema.startsWith("lambda-star/calibrate/")) return { report: readReport(values) };
    const command = /^lambda-star\/([a-z-]+)\//.exec(schema)?.[1];
    const what = command ? `it is what \`lambda-star ${command}\` writes` : "its JSON has no schema of lambda-star";
    throw new Problem(`${what}, and this page shows reports and rehearsals; ${WRITE_REPORT}, or ${WRITE_REHEARSAL}`);
  }

  function parsed(content) {
    try {
      return JSON.parse(content);
    } catch {
      return null;
    }
  }

  /** Returns what a file holds; its problem is a sentence that begins with its name. */
  async function readFile(file) {
    const name = named(file.name, 60);
    try {
      if (file.size > MOST_BYTES)
        throw new Problem("it is too large for a browser; judge it with `lambda-star decide`");
      return { name, ...readText(await file.text()) };
    } catch (error) {
      const said =
        error instanceof Problem ? error.message : `it could not be read (${error.message}); check that it is a file`;
      return { name, problem: `${name}: ${said}.` };
    }
  }

  Object.assign(globalThis.lambdaStar, { named, readFile, readText, shown });
})();
