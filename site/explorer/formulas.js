"use strict";
// Written by `python -m benchmarks.explorer` from the Python source of lambda_star; do not edit.
// eslint-disable
globalThis.lambdaStar = (() => {
const where = (condition, yes, no) => (condition ? yes : no);
const below = (value, bound) => value < bound;
const nowhere = (condition) => !condition;
const exponent_range = () => [1022, 2 ** Math.floor(1022 / 5)];
const positive = (value) => value;
const known = (value, ...given) => {
  const total = given.reduce((sum, one) => sum + one);
  return Number.isNaN(total) ? total : value;
};
// A function of numbers as one of pairs: an entry for the modal token, and one for the tail.
const paired = (f) => (...given) =>
  given.some(Array.isArray) ? [0, 1].map((at) => f(...given.map((x) => (Array.isArray(x) ? x[at] : x)))) : f(...given);
const logaddexp = (a, b) => Math.max(a, b) + (a === b ? Math.LN2 : Math.log1p(Math.exp(-Math.abs(a - b))));
const np = {
  add: paired((a, b) => a + b), subtract: paired((a, b) => a - b), multiply: paired((a, b) => a * b),
  divide: paired((a, b) => a / b), negative: paired((a) => -a), less: paired((a, b) => a < b),
  greater: paired((a, b) => a > b), where: paired(where), minimum: paired((a, b) => Math.min(a, b)),
  maximum: paired((a, b) => Math.max(a, b)), exp: paired(Math.exp), log: paired(Math.log), log1p: paired(Math.log1p),
  expm1: paired(Math.expm1), clip: paired((x, low, high) => Math.min(Math.max(x, low), high)),
  sum: ([modal, tail]) => modal + tail, logaddexp: Object.assign(logaddexp, { reduce: ([a, b]) => logaddexp(a, b) }),
};
class Rule {
  constructor(given = {}) {
    for (const [name, { value }] of Object.entries(this.constructor.fields)) this[name] = given[name] ?? value;
  }
  get needs_rows() { return false; }
  get keeps_fixed_point() { return false; }
  leaves(p, b) { return this._leaves(p, b); }
  dies(p, b) { return this._dies(p, b); }
  student(p, b, lam) { return this._student(p, b, lam); }
  force(theta, p, b, lam, drawn = theta) {
    const log_q = rule._outcomes(theta), log_t = rule._split(p), log_b = rule._split(b);
    const [modal, tail] = this._forces(log_q, log_t, log_b, lam, rule._outcomes(drawn));
    return { modal, tail };
  }
  // An outcome is in the set unless the other one has the share that is drawn alone.
  _inside(log_q) {
    const [modal, tail] = log_q.map(Math.exp);
    return [tail < this._share || tail <= modal, modal < this._share];
  }
}
const namespaces = {};
namespaces.LARGE = 1e+17;
namespaces.log1p_quotient = (numerator, denominator) => {
  let large, log_quotient, quotient;
  quotient = numerator / denominator;
  if (below(quotient, Infinity)) {
    return Math.log1p(quotient);
  }
  large = quotient > namespaces.LARGE;
  log_quotient = Math.log(where(large, numerator, 1.0)) - Math.log(where(large, denominator, 1.0));
  quotient = where(large, 1.0, numerator) / where(large, 1.0, denominator);
  return where(large, log_quotient, Math.log1p(quotient));
};
const formulas = {};
formulas.logit = (p) => {
  return formulas.log_odds_gap(p, 0.5);
};
formulas.log_odds = (log_p) => {
  return log_p - Math.log(-Math.expm1(log_p));
};
formulas.operating = (star, margin) => {
  return 1 + ((1 - margin) * (star - 1));
};
formulas._gap_above = (p, b) => {
  return namespaces.log1p_quotient((p - b) / (1 - p), b);
};
formulas.log_odds_gap = (p, b) => {
  let above, gap, high, low;
  above = p >= b;
  [high, low] = [where(above, p, b), where(above, b, p)];
  gap = formulas._gap_above(high, low);
  return where(above, gap, -gap);
};
formulas.push_to_edge = (p, c) => {
  return namespaces.log1p_quotient(c - 1, p);
};
formulas.push_to_collapse = (p, c) => {
  return namespaces.log1p_quotient(c - p, p);
};
formulas.push_across = (p, c) => {
  return namespaces.log1p_quotient(1 - p, (c - 1) + p);
};
formulas.excess_for = (push, p, b) => {
  let behind, gap, never;
  behind = p <= b;
  if (nowhere(behind)) {
    return where(behind, Infinity, push / positive(formulas._gap_above(p, b)));
  }
  never = behind || ((push === Infinity) && (p > b));
  gap = formulas._gap_above(where(never, 0.75, p), where(never, 0.25, b));
  return formulas._or_never(never, push, gap);
};
formulas.excess_from_gap = (push, gap) => {
  let never;
  never = (gap <= 0) || ((push === Infinity) && (gap > 0));
  return formulas._or_never(never, push, where(never, 1.0, gap));
};
formulas._or_never = (never, push, gap) => {
  return where(never, where(push >= 0, Infinity, push), where(never, 0.0, push) / gap);
};
formulas.excess = (p, b, c) => {
  return formulas.excess_for(formulas.push_to_edge(p, c), p, b);
};
formulas.push = (p, b, lam) => {
  return (lam - 1) * formulas.log_odds_gap(p, b);
};
formulas.favoured_side = (p, push) => {
  let up;
  up = push >= 0;
  return [where(up, p, 1 - p), where(up, push, -push)];
};
formulas.tail_ratio = (p, push) => {
  let half, infinite, ratio;
  half = Math.exp(push / 2);
  ratio = (1 - p) + ((p * half) * half);
  if (below(ratio, Infinity)) {
    return ratio;
  }
  infinite = ratio === Infinity;
  half = Math.exp(where(infinite, 0.0, push) / 2);
  return where(infinite, Infinity, (1 - p) + ((p * half) * half));
};
formulas.flip_point = (never, excess) => {
  return where(never, Infinity, 1 + excess);
};
formulas.fixed_point = (p, push) => {
  let half, modal, most, scale, small, tail, up;
  [most, scale] = exponent_range(push);
  push = where(push > most, most, where(push < (-most), -most, push));
  up = push >= 0;
  half = Math.exp(where(up, -push, push) / 2);
  small = (half * scale) * half;
  [modal, tail] = [(p * where(up, scale, small)), ((1 - p) * where(up, small, scale))];
  return modal / (modal + tail);
};
formulas.capped_student = (p, push, c) => {
  let clipped, collapse, favoured, log_mass, preserved, saturated, size;
  [favoured, size] = formulas.favoured_side(p, push);
  collapse = formulas.push_to_collapse(favoured, c);
  clipped = size > formulas.push_to_edge(favoured, c);
  log_mass = where(clipped && (size < collapse), size - where(clipped, collapse, 0.0), 0.0);
  saturated = where(push >= 0, Math.exp(log_mass), 0 - Math.expm1(log_mass));
  preserved = formulas.fixed_point(p, where(clipped, 0.0, push));
  return where(clipped, saturated, where(c >= 1, preserved, c));
};
const bernoulli = {};
bernoulli.excess = (p, b, c) => {
  return formulas.excess(p, b, c);
};
bernoulli.threshold = (p, b, c) => {
  return 1 + formulas.excess_for(formulas.push_to_edge(p, c), p, b);
};
bernoulli.fixed_point = (p, b, lam) => {
  return formulas.fixed_point(p, formulas.push(p, b, lam));
};
bernoulli.tail_ratio = (p, b, lam) => {
  return formulas.tail_ratio(p, formulas.push(p, b, lam));
};
bernoulli.two_sided_threshold = (p, b, c) => {
  let above, high, low;
  above = p >= b;
  [high, low] = [where(above, p, b), where(above, b, p)];
  return 1 + formulas.excess_for(formulas.push_to_edge(where(above, p, 1 - p), c), high, low);
};
bernoulli.operating_point = (p, b, c, margin) => {
  let infinite, push, share;
  push = formulas.push_to_edge(p, c);
  infinite = (push === Infinity) && (margin >= 0);
  share = where(infinite, push, (1 - margin) * where(infinite, 0.0, push));
  return 1 + formulas.excess_for(share, p, b);
};
const regimes = {};
regimes.collapse_point = (p, b, c) => {
  return 1 + formulas.excess_for(formulas.push_to_collapse(p, c), p, b);
};
regimes.cliff_width = (p, b, c) => {
  return formulas.excess_for(formulas.push_across(p, c), p, b);
};
regimes.stationary_student = (p, b, c, lam) => {
  return formulas.capped_student(p, formulas.push(p, b, lam), c);
};
const flows = {};
flows.natural_threshold = (threshold, time) => {
  return np.divide(threshold, -np.expm1(-time));
};
flows.inverse_rate = (theta) => {
  return (2 + np.exp(theta)) + np.exp(-theta);
};
const budget = {};
budget.FARTHEST = 700.0;
budget.ITERATIONS = 60;
budget.ROUGH = 2;
budget._step_time = (rate, flow) => {
  return (flow === "natural") ? (-np.log1p(-rate)) : rate;
};
const _two = {};
_two.CERTAIN = 10000.0;
_two.HALVINGS = 80;
_two.least = (a, b) => {
  return where(a < b, a, b);
};
_two.greatest = (a, b) => {
  return where(a > b, a, b);
};
_two.log_ratios = (p, b) => {
  let above, high, low, of_modal, of_tail;
  above = p >= b;
  [high, low] = [where(above, p, b), where(above, b, p)];
  [of_modal, of_tail] = [namespaces.log1p_quotient(high - low, low), namespaces.log1p_quotient(high - low, 1 - high)];
  return [where(above, of_modal, -of_modal), where(above, -of_tail, of_tail)];
};
_two.root = (rises, low, high) => {
  let middle, up;
  for (let round = 0; round < _two.HALVINGS; round++) {
    middle = low + ((high - low) / 2);
    up = rises(middle);
    [low, high] = [where(up, middle, low), where(up, high, middle)];
  }
  return low + ((high - low) / 2);
};
_two.either_side = (up, log_favoured) => {
  return where(up, Math.exp(log_favoured), 0.0 - Math.expm1(log_favoured));
};
_two.never = (p, b) => {
  return known(Infinity, p, b);
};
_two.at_once = (p, b) => {
  return known(where(p === b, Infinity, 1.0 + (0 * p)), p, b);
};
_two.always = (p, b) => {
  return known(1.0, p, b);
};
_two.through_dies = (p, b, c) => {
  return 1 + formulas.excess_for(1 + formulas.push_to_collapse(p, c), p, b);
};
_two.through_student = (p, b, lam, c) => {
  let beyond, favoured, held, past, push, size, up;
  push = formulas.push(p, b, lam);
  [favoured, size] = formulas.favoured_side(p, push);
  past = size - formulas.push_to_edge(favoured, c);
  beyond = _two.least((size - 1) - formulas.push_to_collapse(favoured, c), 0.0);
  up = push >= 0;
  held = where(past > 1, _two.either_side(up, beyond), where(up, 1 - ((1 - p) / c), p / c));
  return known(where(past > 0, held, formulas.fixed_point(p, push)), push, c);
};
_two._clamp_edge = (favoured, bound) => {
  let fits, losing, own, reachable, short;
  losing = bound + namespaces.log1p_quotient((favoured - 1) * Math.expm1(-bound), favoured);
  reachable = (Math.log(favoured) + bound) < 0;
  fits = where(reachable, bound, 0.0 * bound);
  short = where(reachable, Math.log(favoured) + bound, -1.0);
  own = fits + Math.log1p((favoured * Math.expm1(fits)) / (-Math.expm1(short)));
  own = where(reachable, own, Infinity);
  return [_two.least(losing, own), (losing <= own)];
};
_two.clamp_leaves = (p, b, bound) => {
  let above, edge, high, low;
  above = p >= b;
  [high, low] = [where(above, p, b), where(above, b, p)];
  [edge, ] = _two._clamp_edge(where(above, p, 1 - p), bound);
  return 1 + formulas.excess_for(edge, high, low);
};
_two.clamp_dies = (p, b, bound) => {
  return 1 + formulas.excess_for(bound + _two.least(-Math.log(p), bound), p, b);
};
_two.clamp_student = (p, b, lam, bound) => {
  let alive, clamped, edge, excess, favoured, held, log_p, losing_first, push, size;
  push = formulas.push(p, b, lam);
  [favoured, size] = formulas.favoured_side(p, push);
  [edge, losing_first] = _two._clamp_edge(favoured, bound);
  log_p = Math.log(favoured);
  alive = (size > edge) && (size < (bound + _two.least(-log_p, bound)));
  excess = where(alive, size - bound, 1.0);
  held = where(losing_first, log_p + excess, Math.log1p((favoured - 1) * Math.exp(-excess)));
  clamped = _two.either_side(push >= 0, where(alive, held, 0.0));
  return known(where(size > edge, clamped, formulas.fixed_point(p, push)), push, bound);
};
_two._log_odds_at = (bound) => {
  return bound + Math.log(-Math.expm1(-bound));
};
_two.floor_leaves = (p, b, bound) => {
  let edge, end, gap, seen, star, start, way;
  [edge, start, end] = [_two._log_odds_at(bound), formulas.logit(b), formulas.logit(p)];
  gap = formulas.log_odds_gap(p, b);
  seen = ((end <= edge) && ((-end) <= edge)) || ((start <= edge) && ((-start) <= edge));
  way = where(gap >= 0, edge - start, edge + start);
  star = where(gap === 0, Infinity, way / where(gap === 0, 1.0, where(gap >= 0, gap, -gap)));
  return known(where(seen, star, 0.0), gap, bound);
};
_two.floor_dies = (p, b, bound) => {
  let gap, risen, still, way;
  [gap, way] = [formulas.log_odds_gap(p, b), (bound - formulas.logit(b))];
  risen = where(way > 0, way, 0.0) / where(gap > 0, gap, 1.0);
  still = where(formulas.logit(p) >= bound, (0.0 * gap) * gap, Infinity);
  return known(where(gap > 0, risen, still), gap, bound);
};
_two.floor_student = (p, b, lam, bound) => {
  let free, held, high, push, resting, size, target;
  push = formulas.push(p, b, lam);
  target = formulas.logit(p) + push;
  size = where(target >= 0, target, -target);
  free = size <= _two._log_odds_at(bound);
  held = _two.either_side(target >= 0, where(free, 0.0, _two.least(size - bound, 0.0)));
  high = Math.exp(-bound);
  resting = where(b > high, high, where(b < (1 - high), 1 - high, b));
  held = where(target === 0, resting, held);
  return known(where(free, formulas.fixed_point(p, push), held), push, bound);
};
_two.kl_leaves = (p, b, c) => {
  let above, high, low;
  above = p >= b;
  [high, low] = [where(above, p, b), where(above, b, p)];
  return formulas.excess_for(formulas.push_to_edge(where(above, b, 1 - b), c), high, low);
};
_two.kl_dies = (p, b, c) => {
  return formulas.excess_for(formulas.push_to_collapse(b, c), p, b);
};
_two.kl_student = (p, b, lam, c) => {
  return formulas.capped_student(b, lam * formulas.log_odds_gap(p, b), c);
};
_two._log_normaliser = (p, excess, of_modal, of_tail) => {
  let high, low, modal, tail;
  [modal, tail] = [(Math.log(p) + (excess * of_modal)), (Math.log1p(-p) + (excess * of_tail))];
  [high, low] = [_two.greatest(modal, tail), _two.least(modal, tail)];
  return high + Math.log1p(Math.exp(low - high));
};
_two.advantage_leaves = (p, b, bound) => {
  let excess, far, high, left, low, mass, of_modal, of_tail, ratio, reach, share, slope;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  mass = where(p >= b, p, 1 - p);
  ratio = _two.greatest(of_modal, of_tail);
  [ratio, far] = [where(p === b, 1.0, ratio), ((p === b) || (bound === Infinity))];
  reach = where(far, 1.0, bound);
  const below = (excess) => {
    return _two._log_normaliser(p, excess, of_modal, of_tail) < reach;
  };
  [low, high] = [(reach / ratio), ((reach - Math.log(mass)) / ratio)];
  excess = _two.root(below, low, _two.greatest(low, high));
  share = formulas.fixed_point(p, excess * (of_modal - of_tail));
  slope = (share * of_modal) + ((1 - share) * of_tail);
  left = reach - _two._log_normaliser(p, excess, of_modal, of_tail);
  excess = excess + (left / where(far, 1.0, slope));
  return known(where(far, Infinity, 1 + excess), p, b, bound);
};
_two.advantage_student = (p, b, lam, bound) => {
  let high, level, low, neutral, of_modal, of_tail, one_end, other, preserved, size, value;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  value = _two._log_normaliser(p, lam - 1, of_modal, of_tail);
  size = where(value >= 0, value, -value);
  level = _two.least(bound, 2 + size);
  level = where(value >= 0, level, -level);
  one_end = Math.exp((Math.log(p) + ((lam - 1) * of_modal)) - level);
  other = -Math.expm1(_two.least((Math.log1p(-p) + ((lam - 1) * of_tail)) - level, 0.0));
  [low, high] = [_two.least(one_end, other), _two.greatest(one_end, other)];
  neutral = _two.greatest(low, _two.least(high, b));
  preserved = formulas.fixed_point(p, formulas.push(p, b, lam));
  return known(where(size > bound, neutral, preserved), p, b, lam, bound);
};
_two._clipped = (ratio, bound) => {
  return _two.greatest(-bound, _two.least(bound, ratio));
};
_two.reward_leaves = (p, b, bound) => {
  let acts, of_modal, of_tail;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  acts = _two.greatest(of_modal, -of_modal) > bound;
  acts = acts || (_two.greatest(of_tail, -of_tail) > bound);
  return known(where(acts, 1.0 + (0 * p), Infinity), p, b, bound);
};
_two.reward_student = (p, b, lam, bound) => {
  let gap, of_modal, of_tail;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  gap = _two._clipped(of_modal, bound) - _two._clipped(of_tail, bound);
  return known(formulas.fixed_point(p, (lam - 1) * gap), p, b, bound);
};
_two.weighted_student = (p, b, lam, c) => {
  let certain, found, modal, modal_slope, of_modal, of_tail, q, slope, step, tail, tail_slope, target, teacher;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  teacher = formulas.logit(p);
  certain = _two.CERTAIN;
  target = _two.least(_two.greatest(teacher + formulas.push(p, b, lam), -certain), certain);
  const force = (log_odds, log_p, ratio, sign) => {
    let advantage, away, capped, log_q, weight;
    log_q = where((sign * log_odds) >= 0, 0.0, sign * log_odds);
    log_q = log_q - Math.log1p(Math.exp(-where(log_odds >= 0, log_odds, -log_odds)));
    away = log_p - log_q;
    capped = away >= Math.log(c);
    weight = where(capped, c, Math.exp(where(capped, 0.0, away)));
    advantage = away + ((lam - 1) * ratio);
    return [(weight * advantage), ((-weight) * (1 + where(capped, 0.0, advantage)))];
  };
  const forces = (log_odds) => {
    return [...force(log_odds, Math.log(p), of_modal, 1.0), ...force(log_odds, Math.log1p(-p), of_tail, -1.0)];
  };
  const rises = (log_odds) => {
    let modal, tail;
    [modal, , tail, ] = forces(log_odds);
    return modal > tail;
  };
  found = _two.root(rises, _two.least(target, teacher), _two.greatest(target, teacher));
  q = formulas.fixed_point(0.5 + (0 * found), found);
  [modal, modal_slope, tail, tail_slope] = forces(found);
  slope = ((1 - q) * modal_slope) + (q * tail_slope);
  step = (modal - tail) / where(slope === 0, 1.0, slope);
  found = found - where((step > (-1)) && (step < 1), step, 0.0);
  return known(formulas.fixed_point(0.5 + (0 * found), found), p, b, lam, c);
};
_two.set_dies = (p, b, share, cost) => {
  let alone, down, freed, mixed, of_modal, of_tail, rises, star, up;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  rises = p > b;
  [up, down] = [where(rises, of_modal, 1.0), where(rises, -of_tail, 1.0)];
  alone = 1 + ((cost - Math.log(p)) / up);
  mixed = (formulas.logit(share) - formulas.logit(b)) / where(rises, formulas.log_odds_gap(p, b), 1.0);
  freed = 1 + (((Math.log1p(-p) - Math.log(share)) - cost) / down);
  star = where(b < share, _two.greatest(alone, mixed), alone);
  star = _two.greatest(star, freed);
  return known(where(rises, star, Infinity), p, b);
};
_two.nucleus_leaves = (p, b, share) => {
  let edge, gap, star, start, way;
  [gap, edge, start] = [formulas.log_odds_gap(p, b), formulas.logit(share), formulas.logit(b)];
  way = where(gap > 0, edge - start, edge + start);
  way = way / where(gap === 0, 1.0, where(gap > 0, gap, -gap));
  star = where((p >= share) || (p <= (1 - share)), 1.0 + (0 * p), way);
  return known(where(gap === 0, Infinity, star), p, b);
};
_two.set_student = (p, b, lam, share, cost) => {
  let alone, both, end, log_losing, losing, lower, of_modal, of_tail, upper;
  [of_modal, of_tail] = _two.log_ratios(p, b);
  alone = Math.exp(_two.least((Math.log(p) + ((lam - 1) * of_modal)) - cost, 0.0));
  log_losing = where(lam < 0.5, Math.log1p(-b) + (lam * of_tail), Math.log1p(-p) + ((lam - 1) * of_tail));
  log_losing = _two.least(log_losing - cost, 0.0);
  losing = Math.exp(log_losing);
  both = formulas.fixed_point(p, formulas.push(p, b, lam));
  [upper, lower] = [_two.greatest(alone, share + (0 * alone)), where(losing > share, -Math.expm1(log_losing), 1 - share)];
  end = where(both >= share, upper, where(both <= (1 - share), lower, both));
  end = where((b >= share) && (alone >= share), alone, end);
  end = where(((b <= (1 - share)) && (b < share)) && (losing >= share), lower, end);
  return known(end, p, b, lam);
};
_two.clip_at = (p, b, star) => {
  let far, push;
  far = star === Infinity;
  push = where(far, 0.0, star - 1) * formulas.log_odds_gap(p, b);
  return known(where(far, Infinity, Math.exp(Math.log(p) + push)), p, b, star);
};
const rule = {};
rule._outcomes = (theta) => {
  return [(-np.logaddexp(0, -theta)), (-np.logaddexp(0, theta))];
};
rule._split = (p) => {
  return [np.log(p), np.log1p(-p)];
};
rule.uncapped = (log_q, log_t, log_b, lam) => {
  let advantage;
  advantage = np.add(np.subtract(log_t, log_q), np.multiply(np.subtract(lam, 1), np.subtract(log_t, log_b)));
  return advantage;
};
const ratios = {};
class Exact extends Rule {
  get keeps_fixed_point() {
    return true;
  }
  _leaves(p, b) {
    return _two.never(p, b);
  }
  _dies(p, b) {
    return _two.never(p, b);
  }
  _student(p, b, lam) {
    return bernoulli.fixed_point(p, b, lam);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    return rule.uncapped(log_q, log_t, log_b, lam);
  }
}
class none extends Exact {
  static fields = {};
  static summary = "Nothing is bounded: the student is the fixed point at every λ.";
}
class log_ratio_cap extends Rule {
  static fields = {"c": {"kind": "float", "value": null}, "through": {"kind": "bool", "value": false}};
  static summary = "The log-ratio of teacher to student is capped at log c inside the advantage.";
  _leaves(p, b) {
    return bernoulli.two_sided_threshold(p, b, this.c);
  }
  _dies(p, b) {
    return this.through ? _two.through_dies(p, b, this.c) : regimes.collapse_point(p, b, this.c);
  }
  _student(p, b, lam) {
    if (this.through) {
      return _two.through_student(p, b, lam, this.c);
    }
    return regimes.stationary_student(p, b, this.c, lam);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    let cost, forces, ratio;
    ratio = np.subtract(log_t, log_q);
    cost = this.through ? np.where(np.less(ratio, Math.log(this.c)), 1.0, 0.0) : 0.0;
    forces = np.add(np.subtract(np.minimum(ratio, Math.log(this.c)), cost), np.multiply(np.subtract(lam, 1), np.subtract(log_t, log_b)));
    return forces;
  }
}
class log_ratio_clamp extends Rule {
  static fields = {"bound": {"kind": "float", "value": null}, "teacher": {"kind": "Teacher", "value": "plain"}};
  static summary = "The log-ratio of teacher to student is clamped to ±bound.";
  get keeps_fixed_point() {
    return this.teacher === "extrapolated";
  }
  _leaves(p, b) {
    return this.keeps_fixed_point ? _two.never(p, b) : _two.clamp_leaves(p, b, this.bound);
  }
  _dies(p, b) {
    return this.keeps_fixed_point ? _two.never(p, b) : _two.clamp_dies(p, b, this.bound);
  }
  _student(p, b, lam) {
    return this.keeps_fixed_point ? bernoulli.fixed_point(p, b, lam) : _two.clamp_student(p, b, lam, this.bound);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    let normaliser, push;
    push = np.multiply(np.subtract(lam, 1), np.subtract(log_t, log_b));
    if (this.keeps_fixed_point) {
      normaliser = np.logaddexp.reduce(np.add(log_t, push));
      return np.clip(np.subtract(np.subtract(np.add(log_t, push), normaliser), log_q), np.negative(this.bound), this.bound);
    }
    return np.add(np.clip(np.subtract(log_t, log_q), np.negative(this.bound), this.bound), push);
  }
}
class log_prob_floor extends Rule {
  static fields = {"bound": {"kind": "float", "value": null}};
  static summary = "The student's log-probability is taken to be at least −bound in the advantage.";
  _leaves(p, b) {
    return _two.floor_leaves(p, b, this.bound);
  }
  _dies(p, b) {
    return _two.floor_dies(p, b, this.bound);
  }
  _student(p, b, lam) {
    return _two.floor_student(p, b, lam, this.bound);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    return rule.uncapped(np.maximum(log_q, np.negative(this.bound)), log_t, log_b, lam);
  }
}
class kl_to_base_cap extends Rule {
  static fields = {"c": {"kind": "float", "value": null}};
  static summary = "The log-ratio of base to student, the KL-to-base term, is capped at log c.";
  _leaves(p, b) {
    return _two.kl_leaves(p, b, this.c);
  }
  _dies(p, b) {
    return _two.kl_dies(p, b, this.c);
  }
  _student(p, b, lam) {
    return _two.kl_student(p, b, lam, this.c);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    let forces;
    forces = np.add(np.multiply(lam, np.subtract(log_t, log_b)), np.minimum(np.subtract(log_b, log_q), Math.log(this.c)));
    return forces;
  }
}
const advantages = {};
advantages.centre = (advantages, log_weights) => {
  let centred, mean;
  mean = np.sum(np.multiply(np.exp(log_weights), advantages));
  centred = np.subtract(advantages, mean);
  return centred;
};
class advantage_clamp extends Rule {
  static fields = {"bound": {"kind": "float", "value": null}, "centred": {"kind": "bool", "value": false}};
  static summary = "The whole advantage is clamped to ±bound.";
  get keeps_fixed_point() {
    return this.centred;
  }
  _leaves(p, b) {
    return this.centred ? _two.never(p, b) : _two.advantage_leaves(p, b, this.bound);
  }
  _dies(p, b) {
    return _two.never(p, b);
  }
  _student(p, b, lam) {
    return this.centred ? bernoulli.fixed_point(p, b, lam) : _two.advantage_student(p, b, lam, this.bound);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    let advantage;
    advantage = rule.uncapped(log_q, log_t, log_b, lam);
    return np.clip(this.centred ? advantages.centre(advantage, log_q) : advantage, np.negative(this.bound), this.bound);
  }
}
class reward_clip extends Rule {
  static fields = {"bound": {"kind": "float", "value": null}};
  static summary = "The reward log(π_T/π_B) is clipped to ±bound.";
  _leaves(p, b) {
    return _two.reward_leaves(p, b, this.bound);
  }
  _dies(p, b) {
    return _two.never(p, b);
  }
  _student(p, b, lam) {
    return _two.reward_student(p, b, lam, this.bound);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    let forces;
    forces = np.add(np.subtract(log_t, log_q), np.multiply(np.subtract(lam, 1), np.clip(np.subtract(log_t, log_b), np.negative(this.bound), this.bound)));
    return forces;
  }
}
const weights = {};
class importance_weight extends Exact {
  static fields = {"c": {"kind": "float", "value": null}, "centred": {"kind": "bool", "value": true}};
  static summary = "The ratio of training to rollout probability weights the advantage, and is capped at c.";
  _forces(log_q, log_t, log_b, lam, drawn) {
    let advantage, forces, weight;
    advantage = rule.uncapped(log_q, log_t, log_b, lam);
    weight = np.minimum(1.0, np.multiply(this.c, np.exp(np.subtract(drawn, log_q))));
    forces = np.multiply(weight, (this.centred ? advantages.centre(advantage, drawn) : advantage));
    return forces;
  }
}
class ppo extends Exact {
  static fields = {"eps": {"kind": "float", "value": 0.2}};
  static summary = "The ratio of new to old policy is clipped to 1 ± eps.";
  _forces(log_q, log_t, log_b, lam, drawn) {
    let advantage, ratio, spent;
    advantage = advantages.centre(rule.uncapped(log_q, log_t, log_b, lam), drawn);
    ratio = np.exp(np.subtract(log_q, drawn));
    spent = np.where(np.greater(advantage, 0), np.greater(ratio, np.add(1, this.eps)), np.less(ratio, np.subtract(1, this.eps)));
    return np.where(spent, 0.0, advantage);
  }
}
class teacher_weight extends Exact {
  static fields = {"c": {"kind": "float", "value": null}, "centred": {"kind": "bool", "value": true}};
  static summary = "The ratio of teacher to student probability weights the advantage, and is capped at c.";
  get keeps_fixed_point() {
    return this.centred;
  }
  _leaves(p, b) {
    return this.centred ? _two.never(p, b) : _two.at_once(p, b);
  }
  _student(p, b, lam) {
    return this.centred ? super._student(p, b, lam) : _two.weighted_student(p, b, lam, this.c);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    let advantage, forces;
    advantage = rule.uncapped(log_q, log_t, log_b, lam);
    forces = np.multiply(np.minimum(this.c, np.exp(np.subtract(log_t, log_q))), (this.centred ? advantages.centre(advantage, log_q) : advantage));
    return forces;
  }
}
const sets = {};
class _Set extends Rule {
  get _cost() {
    return 0.0;
  }
  _dies(p, b) {
    return (this._share === 1) ? _two.never(p, b) : _two.set_dies(p, b, this._share, this._cost);
  }
  _student(p, b, lam) {
    if (this._share === 1) {
      return bernoulli.fixed_point(p, b, lam);
    }
    return _two.set_student(p, b, lam, this._share, this._cost);
  }
  _forces(log_q, log_t, log_b, lam, drawn) {
    return np.where(this._inside(log_q), np.subtract(rule.uncapped(log_q, log_t, log_b, lam), this._cost), 0.0);
  }
}
class top_k extends _Set {
  static fields = {"k": {"kind": "int", "value": null}, "through": {"kind": "bool", "value": false}};
  static summary = "The loss sees the student's k most probable tokens, and nothing of the others.";
  get _cost() {
    return Number(this.through);
  }
  get needs_rows() {
    return this.k > 1;
  }
  get _share() {
    return (this.k === 1) ? 0.5 : 1.0;
  }
  _leaves(p, b) {
    if (this.k > 1) {
      return _two.never(p, b);
    }
    return this.through ? _two.always(p, b) : _two.at_once(p, b);
  }
}
class truncated_sampling extends _Set {
  static fields = {"top_p": {"kind": "float | None", "value": null}, "top_k": {"kind": "int | None", "value": null}};
  static summary = "Rollouts are drawn from the student's most probable tokens alone.";
  get needs_rows() {
    return (this.top_k !== null) && (this.top_k > 1);
  }
  get _share() {
    if (this.top_p === null) {
      return (this.top_k === 1) ? 0.5 : 1.0;
    }
    return Math.max(this.top_p, 0.5);
  }
  _leaves(p, b) {
    if (this._share === 1) {
      return _two.never(p, b);
    }
    return (this._share === 0.5) ? _two.at_once(p, b) : _two.nucleus_leaves(p, b, this._share);
  }
}
const rules = { none, log_ratio_cap, log_ratio_clamp, log_prob_floor, kl_to_base_cap, advantage_clamp, reward_clip, importance_weight, ppo, teacher_weight, top_k, truncated_sampling };
return { formulas, bernoulli, regimes, flows, budget, rules };
})();
