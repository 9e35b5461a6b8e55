"""A teacher that follows a student: the moving average of its weights (BYOL, MoCo, DINO)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from course_lib.models.blocks import Block


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> nn.Module:
    """target <- momentum * target + (1 - momentum) * online, in place and for *parameters only*; returns target.

    Both hold the same parameters in the same order. Buffers (batch norm's running statistics) are left alone.
    ValueError for a momentum that is no share.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}; expected the share that stays, from 0 to 1")
    # one kernel for all parameters, for which torch has no public name
    lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
    lerp(list(target.parameters()), list(online.parameters()), 1 - momentum)
    return target


class EMA(nn.Module):
    """A teacher that follows a student: teacher <- m * teacher + (1 - m) * student, for *parameters only*.

    Buffers (batch norm's running statistics) are not averaged: the teacher keeps its own, as in the official code of
    BYOL, MoCo and DINO. It drops no paths, whatever the student does. Being a submodule, it is saved with the method.
    Call `update(m)` once an optimizer step.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.module: Any = copy.deepcopy(student).requires_grad_(False)  # of the student's class
        for block in self.module.modules():
            if isinstance(block, Block):
                block.drop_path = 0.0

    def update(self, student: nn.Module, momentum: float) -> None:
        ema_update(self.module, student, momentum)

    def forward(self, *args, **kwargs):
        with torch.no_grad():
            return self.module(*args, **kwargs)
