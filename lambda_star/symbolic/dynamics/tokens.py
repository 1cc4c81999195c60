"""K tokens under the natural flow without a bound: the derivation of an unfinished run."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.dynamics.flows import time
from lambda_star.symbolic.rules import Differentiate, Limit, Rewrite, Sign, Substitute
from lambda_star.symbolic.symbols import lam, positive, real

__all__ = ["unfinished_run"]

t_i, t_j, b_i, b_j, q_i, q_j = positive("t_i t_j b_i b_j q_i q_j")
"""The probabilities of two tokens under teacher, base and student."""

x, x_0, x_lam = real("x x_0 x_lambda")
"""The student's log q_i/q_j now, at the start, and at the fixed point."""

g, h, k, m, u, v, w, z = positive("g h k m u v w z")
TOKENS = Assumptions(
    r"t_i,t_j,b_i,b_j,q_i,q_j>0,\quad x,x_0,x_\lambda\in\mathbb{R},\quad \lambda,s>0",
    {
        t_i: u,
        t_j: v,
        b_i: w,
        b_j: z,
        q_i: g,
        q_j: h,
        x: k - m,
        x_0: k - g,
        x_lam: m - h,
        lam: k,
        time: sp.log(1 + m),
    },
)


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
            Step(
                Substitute({x_0: of_base, x_lam: goal}),
                student,
                reached * of_teacher + (1 - reached) * of_base,
                "x(s)",
            ),
            Step(Differentiate(time), reached, lam * sp.exp(-time), r"\lambda'(s)"),
            Step(Sign(">"), lam * sp.exp(-time), name=r"\lambda'(s)"),
            Step(Limit(time, sp.oo, m, sp.oo), reached, lam),
        ),
        {"λ of an unfinished run": (r"\lambda(s)", reached)},
        module="dynamics",
        spot={lam: "1.5", time: "2"},
    )
