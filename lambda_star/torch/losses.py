"""A user's loss as a function of logits, whatever its signature: what each parameter is follows from its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = ["Loss", "Parameter", "Returns", "read_loss"]

Returns = Literal["loss", "advantage"]
"""What a callable gives: a loss to be minimised, or the advantage of every token."""

ROLES = ("student", "teacher", "base", "lam", "tokens", "rollout")

# The words by which a name tells its role, searched in this order: `old_log_probs` are the rollout's, `ref_logits` the
# base's, and `logits` alone the student's. A word is what stands between underscores; a star stands for any ending.
WORDS = {
    "rollout": ("rollout*", "old", "behaviour", "behavior", "sampler", "mu"),
    "base": ("base", "ref", "reference", "b"),
    "teacher": ("teacher*", "target", "expert", "t"),
    "tokens": ("token*", "action*", "labels", "sampled"),
    "lam": ("lam*", "lmbda", "extrapolation"),
    "student": ("student*", "policy", "model", "s", "logits", "log", "logp", "logps", "logprobs", "probs"),
}
POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Parameter(NamedTuple):
    """What one parameter of a callable is given: whose rows, and in which form; λ and tokens have no form."""

    name: str
    role: str
    form: str
    positional: bool


class Loss(NamedTuple):
    """A callable, what its parameters are given, and what it returns."""

    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    returns: Returns

    @property
    def roles(self) -> frozenset[str]:
        """What the callable is given."""
        return frozenset(each.role for each in self.parameters)

    @property
    def sampled(self) -> bool:
        """Whether the loss is one of drawn tokens rather than of whole distributions."""
        return "tokens" in self.roles

    def __call__(self, student: Tensor, given: dict[str, Tensor], lam: float) -> Tensor:
        """Compute the loss of rows of logits, as one number; ``given`` holds the other rows and the tokens by role.

        A callable without a base is given the extrapolated teacher, λ z_T + (1−λ) z_B, in place of the teacher.
        """
        rows = given | {"student": student if self.returns == "loss" else student.detach()}
        if "base" not in self.roles:
            rows["teacher"] = lam * given["teacher"] + (1 - lam) * given["base"]
        values = [
            (each, lam if each.role == "lam" else _in_form(rows[each.role], each.form)) for each in self.parameters
        ]
        positional = [value for each, value in values if each.positional]
        value = self.function(*positional, **{each.name: value for each, value in values if not each.positional})
        if not isinstance(value, Tensor):
            raise TypeError(f"it must return a tensor, got {type(value).__name__}")
        if self.returns == "advantage":
            return _loss_of(value, student, given.get("tokens"))
        return value if value.ndim == 0 else value.sum()


def read_loss(loss: Callable[..., Any], returns: Returns | None = None) -> Loss:
    """Read from the names of a callable's parameters what each of them is to be given.

    Args:
        loss: the callable. A parameter's name tells its role, as ``teacher_logits`` or ``ref_log_probs`` do; where a
            name without a default tells nothing, the order is student, teacher, base, lam, tokens, rollout. A name
            with "logit" in it means logits, another one with "log" log-probabilities, another one with "prob"
            probabilities, and any other logits. A parameter that has a default and no role keeps its default.
        returns: "loss" or "advantage"; by default "advantage" if the callable's own name has that word in it.

    Returns:
        The callable with what its parameters are given.

    Raises:
        ValueError: student or teacher is missing, two parameters have the same role, there is a base but no λ, or the
            callable tells no parameters at all.

    >>> def advantage(log_student, log_teacher, log_base, lam): ...
    >>> [(each.role, each.form) for each in read_loss(advantage).parameters][:2]
    [('student', 'log-probabilities'), ('teacher', 'log-probabilities')]
    """
    name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)  # a partial has a function
    if returns is None:
        returns = "advantage" if "advantage" in name else "loss"
    if returns not in get_args(Returns):
        raise ValueError(f"returns must be one of {', '.join(get_args(Returns))}, got {returns!r}")
    found = [each for each in inspect.signature(loss).parameters.values() if each.kind in (POSITIONAL, *NAMED)]
    roles: dict[str, str | None] = {each.name: _role(each.name) for each in found}
    required = [each.name for each in found if each.default is each.empty]
    if None in (roles[each] for each in required):
        roles |= dict(zip(required, (*ROLES, *[None] * len(required)), strict=False))
    parameters = [
        Parameter(each.name, role, _form(each.name, role), each.kind == POSITIONAL)
        for each in found
        if (role := roles[each.name])
    ]
    _check_roles(name, parameters, [each for each in required if roles[each] is None])
    return Loss(loss, tuple(parameters), returns)


def _role(name: str) -> str | None:
    """Return the role that a parameter's name tells."""
    words = name.lower().split("_")
    for role, known in WORDS.items():
        for word in known:
            if word in words or (word[-1] == "*" and any(each.startswith(word[:-1]) for each in words)):
                return role
    return None


def _form(name: str, role: str) -> str:
    """Return the form in which a parameter wants its rows."""
    if role in ("lam", "tokens"):
        return ""
    if "logit" in name:
        return "logits"
    if "log" in name:
        return "log-probabilities"
    return "probabilities" if "prob" in name else "logits"


def _check_roles(name: str, parameters: Sequence[Parameter], unknown: Sequence[str]) -> None:
    roles = [each.role for each in parameters]
    lacks_lam = "base" in roles and "lam" not in roles
    if unknown or lacks_lam or len(set(roles)) < len(roles) or not {"student", "teacher"} <= set(roles):
        listed = ", ".join(f"{each.name} as {each.role}" for each in parameters) or "no parameter"
        unread = f", and {', '.join(unknown)} as nothing" if unknown else ""
        raise ValueError(
            "loss must take (student, teacher, base, lam), also tokens and rollout if it needs them, or (student, "
            f"teacher) if its teacher is extrapolated already; {name} was read with {listed}{unread}; rename its "
            "parameters, or wrap it in a function that has these names"
        )


def _in_form(rows: Tensor, form: str) -> Tensor:
    if form == "log-probabilities":
        return torch.log_softmax(rows, dim=-1)
    return torch.softmax(rows, dim=-1) if form == "probabilities" else rows


def _loss_of(advantage: Tensor, student: Tensor, tokens: Tensor | None) -> Tensor:
    """Compute the loss −E[A log π], whose gradient moves the student up the advantage."""
    shape = tuple(student.shape if tokens is None else tokens.shape)
    if tuple(advantage.shape) != shape:
        raise ValueError(f"the advantage of every token must have shape {shape}, got {tuple(advantage.shape)}")
    log_s = torch.log_softmax(student, dim=-1)
    if tokens is not None:
        return -(advantage.detach() * log_s.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)).sum()
    return -(advantage.detach() * log_s.exp()).sum()
