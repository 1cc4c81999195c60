"""K tokens under the natural flow without a bound: the derivation of an unfinished run."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.dynamics.flows import time
from lambda_star.symbolic.regions import above, free
from lambda_star.symbolic.rules import Differentiate, Limit, Rewrite, Solve, Substitute
from lambda_star.symbolic.symbols import lam, positive, real

__all__ = ["unfinished_run"]

t_i, t_j, b_i, b_j, q_i, q_j = positive("t_i t_j b_i b_j q_i q_j")
"""The probabilities of two tokens under teacher, base and student."""

x, x_0, x_lam = real("x x_0 x_lambda")
"""The student's log q_i/q_j now, at the start, and at the fixed point."""

lam_s = sp.Symbol(r"\lambda_s", real=True)
"""The λ of an unfinished run."""

TOKENS = assume(
    above(0, t_i, t_j, b_i, b_j, q_i, q_j, each=True), free(x, x_0, x_lam), above(0, lam), above(0, time, log=1)
)
_odds = b_i * t_j / b_j
APART = assume(above(0, t_j, b_i, b_j, each=True), above(_odds, t_i), above(0, lam), above(0, time), free(lam_s))


@derivation
def unfinished_run() -> Derivation:
    """Derive the student over K tokens after a finite time of the natural flow."""

    def advantage(teacher: sp.Expr, base: sp.Expr, student: sp.Expr) -> sp.Expr:
        return sp.log(teacher / student) + (lam - 1) * sp.log(teacher / base)

    of_teacher, of_base = sp.log(t_i / t_j), sp.log(b_i / b_j)
    student = x_lam + (x_0 - x_lam) * sp.exp(-time)
    speed = (x_lam - x_0) * sp.exp(-time)
    goal = lam * of_teacher + (1 - lam) * of_base
    reached = lam * (1 - sp.exp(-time))
    there = reached * of_teacher + (1 - reached) * of_base
    return Derivation(
        "unfinished_run",
        TOKENS,
        (
            Step(
                Rewrite("collect"),
                advantage(t_i, b_i, q_i) - advantage(t_j, b_j, q_j),
                goal - sp.log(q_i / q_j),
                "F_i-F_j",
            ),
            Step(Differentiate(time), student, speed, "x'(s)"),
            Step(Substitute({x: student}), x_lam - x, speed, r"x_\lambda-x(s)"),
            Step(Substitute({time: sp.Integer(0)}), student, x_0, "x(0)"),
            Step(Substitute({x_0: of_base, x_lam: goal}), student, there, "x(s)"),
            Step(Solve(lam_s), sp.Eq(lam_s * of_teacher + (1 - lam_s) * of_base, there), reached, r"\lambda(s)", APART),
            Step(Differentiate(time), reached, lam * sp.exp(-time), r"\lambda'(s)", sign=">"),
            Step(Limit(time, sp.oo), reached, lam),
        ),
        {"λ of an unfinished run": (r"\lambda(s)", reached)},
        module="dynamics",
        spot={lam: "1.5", time: "2"},
        given={
            "F_i-F_j": advantage(t_i, b_i, q_i) - advantage(t_j, b_j, q_j),
            "x(s)": student,
            r"x_\lambda": goal,
            "x'": x_lam - x,
            r"x_{\lambda_s}": lam_s * of_teacher + (1 - lam_s) * of_base,
        },
    )
