"""The slow reference of the dynamics: the definitions at 50 digits and more, and what the tests share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

import lambda_star as ls
from lambda_star.dynamics import Flow
from tests import oracle
from tests.strategies import probability_from_log_odds

CONTEXT, real = oracle.CONTEXT, oracle.real
EPS = 2.0**-52
FLOWS: tuple[Flow, ...] = get_args(Flow)
WIDE = bool(np.finfo(np.longdouble).eps < 1e-18)
"""Whether the platform has floats wider than float64, which keep the digits of the small difference λ − λ*."""
Floats = NDArray[np.float64]
Real = Any  # an mpmath number
flows = st.sampled_from(FLOWS)
gentle = st.floats(-3.0, 4.0).map(probability_from_log_odds)
powers = st.floats(-3.0, 1.3)
clips = st.one_of(st.floats(1.01, 20.0), st.floats(-4.0, 3.0).map(lambda k: 1 + 10.0**k))
each_flow = pytest.mark.parametrize("flow", FLOWS)
POINT = (0.9, 0.5, 2.0)


def distances(p: float, b: float, c: float, lam: float) -> tuple[Real, Real, Real]:
    """The base's log-odds, and the distances of base and clip edge to the fixed point, to the digits of the context."""
    tail, start = 1 - real(p), CONTEXT.log(real(b) / (1 - real(b)))
    gap = CONTEXT.log(real(p) / tail) - start
    return start, real(lam) * gap, (real(lam) - 1) * gap - CONTEXT.log((real(c) - tail) / real(p))


def free(flow: Flow, start: Real, whole: Real, remaining: Real) -> Real:
    """The time from ``start`` until ``remaining`` is left of the distance ``whole`` to the fixed point."""
    if remaining <= 0:
        return CONTEXT.inf
    if flow == "natural":
        return CONTEXT.log(whole / remaining)
    up = CONTEXT.exp(start + whole)
    first, second = CONTEXT.e1(remaining) - CONTEXT.e1(whole), CONTEXT.ei(whole) - CONTEXT.ei(remaining)
    return 2 * CONTEXT.log(whole / remaining) + up * first + second / up


def exact_time(p: float, b: float, c: float, lam: float, flow: Flow) -> Real:
    """The time to the edge: the closed form, at enough digits for its cancellation."""
    with CONTEXT.workdps(120):
        return free(flow, *distances(p, b, c, lam))


def pieces(low: Real, high: Real) -> list[Real]:
    return list(CONTEXT.linspace(low, high, int(CONTEXT.ceil((high - low) / 4)) + 1))


def edge_by_quadrature(p: float, b: float, c: float, lam: float) -> Real:
    """The time to the edge under policy gradient: the integral of the inverse velocity, over log u."""
    start, whole, remaining = distances(p, b, c, lam)

    def inverse_rate(v: Real) -> Real:
        theta = start + whole - CONTEXT.exp(v)
        return 2 + CONTEXT.exp(theta) + CONTEXT.exp(-theta)

    return CONTEXT.quad(inverse_rate, pieces(CONTEXT.log(remaining), CONTEXT.log(whole)))


def clipped_by_quadrature(flow: Flow, surplus: Real, start: Real, end: Real) -> Real:
    """The time from q = e^−start to q = e^−end with the clip acting: θ' = surplus − log q, times q(1−q) or not."""
    surplus, start, end = (CONTEXT.mpf(value) for value in (surplus, start, end))
    if surplus + end <= 0:
        return CONTEXT.inf
    shift = min(surplus, CONTEXT.zero)

    def integrand(v: Real) -> Real:
        w = CONTEXT.exp(v) - shift
        speed = (surplus + w) if surplus > 0 else CONTEXT.exp(v)
        tail = -CONTEXT.expm1(-w)
        return CONTEXT.exp(v) / speed / tail / (1 if flow == "natural" else CONTEXT.exp(-w) * tail)

    return CONTEXT.quad(integrand, pieces(CONTEXT.log(end + shift), CONTEXT.log(start + shift)))


def exact_collapse(p: float, b: float, c: float, lam: float, tail: Real, flow: Flow) -> Real:
    """The time to a tail mass, in two stretches where the student passes the edge before."""
    with CONTEXT.workdps(80):
        start, whole, remaining = distances(p, b, c, lam)
        tail = CONTEXT.mpf(tail)
        goal = CONTEXT.log1p(-tail) - CONTEXT.log(tail) - start
        if goal <= 0:
            return CONTEXT.zero
        if remaining <= 0 or goal <= whole - remaining:
            return free(flow, start, whole, whole - goal)
        before = free(flow, start, whole, remaining)
        share = (1 - real(p)) / real(c)
        surplus = remaining + CONTEXT.log1p(-share)
        with CONTEXT.workdps(30):
            return before + clipped_by_quadrature(flow, surplus, -CONTEXT.log1p(-share), -CONTEXT.log1p(-tail))


def velocity(p: float, b: float, c: float, lam: float, flow: Flow) -> Callable[[float], float]:
    """The drift of the log-odds from the model's definition."""

    def drift(theta: float) -> float:
        log_q, log_tail = -math.log1p(math.exp(-theta)), -math.log1p(math.exp(theta))
        modal = min(math.log(p) - log_q, math.log(c)) + (lam - 1) * (math.log(p) - math.log(b))
        tail = min(math.log1p(-p) - log_tail, math.log(c)) + (lam - 1) * (math.log1p(-p) - math.log1p(-b))
        return (modal - tail) * (1.0 if flow == "natural" else math.exp(log_q + log_tail))

    return drift


def close(value: float, exact: Real, rtol: float) -> bool:
    if not CONTEXT.isfinite(exact) or not math.isfinite(value):
        return bool(real(value) == exact)
    return bool(abs(real(value) - exact) <= rtol * abs(exact))


def slowest(p: float, b: float, c: float) -> float:
    """The larger inverse rate of base and edge: times of policy gradient scale with it."""
    return max(1 / (b * (1 - b)), c * c / ((1 - p) * (c - 1 + p)))


def typical(p: float, b: float, c: float, power: float, flow: Flow) -> float:
    """A budget of a given power of ten, in the time that the flow needs for a unit of log-odds."""
    return math.pow(10.0, power) * (1.0 if flow == "natural" else slowest(p, b, c))


def above(p: float, b: float, c: float, more: float) -> float:
    """The float next to λ*·(1 + more)."""
    return float(oracle.threshold(p, b, c) * (1 + real(more)))


def logit(q: float) -> float:
    return math.log(q) - math.log1p(-q)


def at_edge(p: float, c: float) -> float:
    """Log-odds of the student whose tail is (1−p)/c."""
    return -logit((1 - p) / c)


HALF = 0.5 * (ls.threshold(0.99, 0.9, 5.0) + ls.collapse_point(0.99, 0.9, 5.0))
COLLAPSES = [
    (0.99, 0.9, 5.0, 1.5, 0.02),  # preserving, on the way to the fixed point's tail, 3.0e-3
    (0.99, 0.9, 5.0, 1.8, 0.02),  # collapsing, before the edge
    (0.99, 0.9, 5.0, 1.8, 1e-3),  # past it
    (0.99, 0.9, 5.0, 1.8, 1e-12),
    (0.99, 0.9, 5.0, 1.68, 1e-9),
    (0.99, 0.9, 5.0, HALF, 1.5e-3),  # saturated: the tail settles at 1.0e-3
    (0.6, 0.3, 3.0, 2.5, 1e-6),
    (1 - 1e-6, 0.9, 3.0, 1.3, 1e-12),
]
