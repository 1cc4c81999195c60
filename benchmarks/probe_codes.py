"""What the losses of training codes do at p = .999, b = .5: ``python -m benchmarks.probe_codes`` prints the table.

``docs/probe.md`` holds its output between two marks, and a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks import code_losses as codes
from lambda_star.torch import ProbeReport, probe

P, B = 0.999, 0.5


class Code(NamedTuple):
    """A loss of a training code: where it comes from, which settings choose it, and how it is probed."""

    name: str
    source: str
    keys: str
    loss: codes.Loss
    options: Mapping[str, Any] = MappingProxyType({})


def trl_codes() -> list[Code]:
    """The losses that an installed TRL computes."""
    trl = f"{version('trl')}, run"
    jsd = {name: codes.trl_jsd("gkd.gkd_trainer", "GKDTrainer", beta=beta) for name, beta in BETAS.items()}
    iw = {
        tail: codes.trl_jsd("iw_opd.iw_opd_trainer", "IWOPDTrainer", beta=1.0, top_k=2, add_tail=tail) for tail in TAIL
    }
    sdft = {(alpha, tail): codes.trl_self_distillation(alpha, 2, tail) for alpha in (0.5, 1.0) for tail in TAIL}
    three = {"outcomes": 3}
    return [
        *(
            Code("TRL DistillationTrainer", trl, f"`beta={beta:g}`", codes.trl_distillation(beta))
            for beta in BETAS.values()
        ),
        *(Code("TRL GKDTrainer", trl, f"`beta={BETAS[name]:g}`", loss) for name, loss in jsd.items()),
        *(
            Code("TRL IWOPDTrainer", trl, f"`beta=1, loss_top_k=2, loss_add_tail={tail}`", iw[tail], three)
            for tail in TAIL
        ),
        *(
            Code("TRL SDFT, SDPO", trl, f"`distillation_alpha={alpha:g}, …topk=2, …add_tail={tail}`", loss, three)
            for (alpha, tail), loss in sdft.items()
        ),
        Code("TRL GRPOTrainer, extrapolated reward", trl, "`loss_type=dapo, epsilon=0.2`", codes.trl_grpo("dapo")),
        Code(
            "TRL GRPOTrainer, extrapolated reward",
            trl,
            "`loss_type=cispo, epsilon_high=5`",
            codes.trl_grpo("cispo", epsilon_high=5.0),
        ),
    ]


BETAS = {"reverse": 1.0, "between": 0.5, "forward": 0.0}
TAIL = (True, False)
FORMULA = "2026-08, formula"


def formula_codes() -> list[Code]:
    """The losses that are written after a code's formula."""
    gradient, inside, outside = codes.policy_gradient, codes.clamped_inside, codes.clamped_outside
    k1 = "`loss_mode=k1, use_policy_gradient=True"
    return [
        Code("verl, extrapolated teacher", FORMULA, f"{k1}, loss_max_clamp=null`", gradient(inside(None))),
        Code("verl, extrapolated teacher", FORMULA, f"{k1}, loss_max_clamp=10`", gradient(inside(10.0))),
        Code("verl, λ added outside", FORMULA, f"{k1}, loss_max_clamp=10`", gradient(outside(10.0))),
        Code("verl, λ added outside", FORMULA, f"{k1}, loss_max_clamp=5`", gradient(outside(5.0))),
        Code("verl, extrapolated teacher", FORMULA, "`loss_mode=k3`", codes.verl_k3),
        Code(
            "verl, extrapolated teacher",
            FORMULA,
            "`loss_mode=forward_kl_topk, topk=2`",
            codes.verl_forward_topk(2),
            {"outcomes": 3},
        ),
        Code(
            "verl before May 2026, extrapolated teacher",
            FORMULA,
            "`loss_mode=reverse_kl_topk, topk=2`",
            codes.verl_reverse_topk(2),
            {"outcomes": 3},
        ),
        Code(
            "verl before May 2026, λ added outside",
            FORMULA,
            "`loss_mode=reverse_kl_topk, topk=2`",
            codes.verl_reverse_topk(2, outside=True),
            {"outcomes": 3},
        ),
        Code("G-OPD", FORMULA, "`only_reverse_kl_advantages, lambda_vals`", gradient(codes.reverse_kl)),
        Code("G-OPD", FORMULA, "`rollout_is_threshold=5`", codes.weighted(codes.reverse_kl, 5.0)),
        Code("slime, miles, extrapolated teacher", FORMULA, "`--tis-clip 2`", codes.weighted(inside(None), 2.0)),
        Code("LightRFT, extrapolated teacher", FORMULA, "±20", gradient(inside(20.0))),
        Code("LightRFT, λ added outside", FORMULA, "±20", gradient(outside(20.0))),
        Code("ROLL, λ added outside", FORMULA, "`is_pure_opd, advantage_clip=5`", gradient(outside(5.0))),
        Code("rLLM", FORMULA, "`adv_clip_max=5, adv_clip_min=-5`", gradient(codes.clamped_advantage(5.0))),
        Code("any, rollouts with a nucleus", FORMULA, "`top_p=0.95`", gradient(codes.reverse_kl), {"top_p": 0.95}),
        Code("any, rollouts with a nucleus", FORMULA, "`top_p=1`", gradient(codes.reverse_kl), {"top_p": 1.0}),
    ]


def row(code: Code) -> str:
    """Probe a code, and return its row of the table."""
    try:
        found = cells(probe(code.loss, p=P, b=B, **code.options))
    except ValueError as error:
        found = (str(error).partition(",")[0], "", "")
    return f"| {code.name} | {code.source} | {code.keys} | {' | '.join(found)} |"


def cells(report: ProbeReport) -> tuple[str, str, str]:
    """Return rule, the λ at which the student leaves q_λ, and the λ at which the tail dies."""
    rule = "" if report.rule is None else f"`{report.rule}`" + ("" if report.exact else ", other speeds")
    rounded = any("up to rounding" in note for note in report.notes)
    return rule, number(report.leaves), number(report.dies) + (", by rounding" if rounded else "")


def number(value: float) -> str:
    """Return a λ with four digits behind the point, or a word."""
    if math.isnan(value):
        return "not looked for"
    return "never" if value == math.inf else "every λ" if value == 0 else f"{value:.4f}"


def table(chosen: list[Code]) -> str:
    """Return the table of codes in Markdown."""
    head = "| code | version | keys | rule | leaves q_λ at | tail dies at |\n| --- | --- | --- | --- | --- | --- |"
    return "\n".join([head, *map(row, chosen)])


def main() -> None:
    """Print the table."""
    print(table([*trl_codes(), *formula_codes()]))


if __name__ == "__main__":
    main()
