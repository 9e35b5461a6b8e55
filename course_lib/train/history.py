"""What a run did: the curves, the collapse diagnostics, and the error of a run that broke."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from course_lib.evaluate.measures import variance_rank
from course_lib.files import write_text
from course_lib.moved import signpost

__getattr__ = signpost(__name__)  # names the new name of what has been renamed here


@dataclass
class History:
    """What a run did. curves: name -> values at `curve_steps`; std, rank: of the embedding at `rank_steps`."""

    steps: int = 0
    total_steps: int = 0            # of the schedule
    stop_at: int = 0                # the step that `fit` was asked to stop at; 0: unknown
    batch_size: int = 0
    seconds: float = 0.0
    views_per_second: float = 0.0
    device: str = ""
    precision: str = ""
    threads: int = 0                # CPU threads at the end; 0: unknown
    stretches: list[list[int]] = field(default_factory=list)  # [first step, threads], one per change
    interrupted: bool = False
    curve_steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    rank_steps: list[int] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    rank: list[float] = field(default_factory=list)
    checkpoint: str = ""

    def computes_with(self, threads: int, step: int) -> None:
        """Note the number of CPU threads from this step on."""
        if threads != self.threads:
            self.threads = threads
            self.stretches.append([step, threads])

    @property
    def loss(self) -> list[float]:
        return self.curves.get("loss", [])

    def __repr__(self) -> str:
        state = "interrupted" if self.interrupted else "done"
        last = f", loss {self.loss[-1]:.4g}" if self.loss else ""
        return (f"{state}: {self.steps} of {self.total_steps} steps in {self.seconds:.1f} s, "
                f"{self.views_per_second:.0f} views/s, {self.device} {self.precision}{last}")


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message names the step, the part and the last good checkpoint."""


def std_and_rank(z: Tensor) -> Tensor:
    """(mean standard deviation of a dimension, effective rank) of an embedding (N, D), on its device."""
    z = torch.nan_to_num(z.detach().float()[:1024], 0, 0, 0)  # a broken loss has its own error
    return torch.stack([z.std(0).mean(), variance_rank(z)])


def record(history: History, pending: list[tuple[int, dict[str, Tensor]]]) -> None:
    """Move pending parts into the history (one transfer), and stop at the first that is not finite."""
    if not pending:
        return
    names = [name for name in pending[-1][1] if name != "_embedding"]
    table = torch.stack([torch.stack([parts[name].detach().float() for name in names]) for _, parts in pending]).cpu()
    for row, (step, parts) in zip(table, pending):
        if not torch.isfinite(row).all():
            culprit = next(n for n, v in sorted(zip(names, row.tolist()), key=lambda nv: nv[0] == "loss")
                           if not math.isfinite(v))
            pending.clear()
            raise NonFiniteLoss(non_finite(
                step, f"the part '{culprit}' of the loss is {row[names.index(culprit)].item()}", history))
        history.curve_steps.append(step)
        for name, value in zip(names, row.tolist()):
            history.curves.setdefault(name, []).append(value)
        if "_embedding" in parts:
            std, rank = parts["_embedding"].tolist()
            history.rank_steps.append(step)
            history.std.append(std)
            history.rank.append(rank)
    pending.clear()


def non_finite(step: int, what: str, history: History) -> str:
    return (f"training broke at step {step}, not finite: {what}. Try a lower lr, clip=1.0 or precision='float32'. "
            f"Last good checkpoint: {history.checkpoint or 'none (give out=)'}.")


def write_metrics(history: History, path: Path) -> None:
    """The curves as CSV: a line per step."""
    names = list(history.curves)
    rows = [",".join(["step", *names])]
    rows += [",".join([str(s), *(f"{history.curves[n][i]:.6g}" for n in names)])
             for i, s in enumerate(history.curve_steps)]
    write_text(path, "\n".join(rows) + "\n")
