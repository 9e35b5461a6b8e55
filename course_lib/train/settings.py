"""Settings of a run: the caller's, else the method's recipe, else the defaults here; all checked before it starts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from course_lib.methods.base import Method
from course_lib.optim import ADAMS, OPTIMIZERS

# learning rate and weight decay of each optimizer; per 256 images for SGD and LARS
DEFAULTS = {"adamw": {"lr": 1e-3, "weight_decay": 0.05}, "muon": {"lr": 3e-3, "weight_decay": 0.05},
            "sgd": {"lr": 0.06, "weight_decay": 5e-4}, "lars": {"lr": 0.3, "weight_decay": 1e-6},
            "larc": {"lr": 0.6, "weight_decay": 1e-6}}


@dataclass(frozen=True)
class Settings:
    """What `fit` trains with. ValueError for what cannot be.

    batch_size: images per update. lr: absolute for adamw and muon, per 256 images for the others. warmup: share of
    the steps. final_lr: share of lr. clip: the largest norm of all gradients, inf for none. accumulate: parts that a
    batch is computed in. betas: Adam's; a method's recipe has its paper's.
    """

    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    batch_size: int = 256
    warmup: float = 0.1
    final_lr: float = 0.0
    clip: float = math.inf
    accumulate: int = 1
    betas: tuple[float, float] = (0.9, 0.95)

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
        for name, lowest in (("batch_size", 1), ("accumulate", 1)):
            whole_number(name, getattr(self, name), lowest)
        for name, fits, expected in (
                ("lr", 0 < self.lr < math.inf, "a number above 0"),
                ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
                ("warmup", 0 <= self.warmup < 1, "a share of the steps, from 0 to below 1"),
                ("final_lr", 0 <= self.final_lr <= 1, "a share of lr, from 0 to 1"),
                ("clip", self.clip > 0, "the largest norm of the gradients, above 0, or None")):
            if not fits or math.isnan(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {expected}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas!r}; expected two numbers, from 0 to below 1")

    @classmethod
    def resolve(cls, method: Method | type[Method], **asked: Any) -> Settings:
        """The caller's (None: not given), else the method's recipe, else the defaults.

        With an optimizer other than the recipe's, only the recipe's batch size applies.
        """
        recipe, asked = method.recipe, {name: value for name, value in asked.items() if value is not None}
        if asked.get("optimizer", recipe.get("optimizer", "adamw")) != recipe.get("optimizer", "adamw"):
            recipe = {name: value for name, value in recipe.items() if name == "batch_size"}
        chosen = {**recipe, **asked}
        defaults = DEFAULTS.get(str(chosen.get("optimizer", "adamw")).split("-")[0], {})
        return cls(**{**defaults, **chosen})

    @property
    def peak_lr(self) -> float:
        """The highest learning rate, for this batch size."""
        return self.lr if self.optimizer in ADAMS else self.lr * self.batch_size / 256

    @property
    def group(self) -> dict[str, Any]:
        """What each group of parameters is given beside its own (see `optim.Group`)."""
        return {"betas": tuple(self.betas)} if self.optimizer in ADAMS else {}

    def record(self) -> dict[str, Any]:
        """Plain values for a checkpoint; clip None if there is none, betas only of Adam's."""
        plain = {**asdict(self), "clip": None if math.isinf(self.clip) else self.clip, "betas": tuple(self.betas)}
        return plain if self.optimizer in ADAMS else {name: plain[name] for name in plain if name != "betas"}


def whole_number(name: str, value: Any, lowest: int) -> int:
    """The value, if it is a whole number from `lowest` up; else a ValueError that says so."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} is {value!r}; expected a whole number from {lowest} up")
    return value
