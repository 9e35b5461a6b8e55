"""Make the stored runs of lesson 12: MAE on generated shapes by its mask ratio, frozen and fine-tuned.

    python lessons/grids/week12.py   # what is missing in lessons/runs/12_mae (about 40 minutes of one core)

A smaller and faster network than the learned one: patches of 8 pixels and no stem, so a ratio of 0.9 keeps one patch
of sixteen. Two lines break one part each, at 0.75.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from grid import LABELS, SHAPES, Grid, Made, Run, build, shapes, tuned

from course_lib.augment.masks import random_masking, visible_count
from course_lib.evaluate.scoring import score
from course_lib.methods.masked.mae import MAE

RATIOS, SEEDS = (0.75, 0.5, 0.9, 0.25), (0, 1, 2)
STEPS, BATCH, EPOCHS = 2000, 64, 30
VIT = {"patch": 8, "dim": 96, "depth": 4, "heads": 3, "pool": "mean"}
DECODER = {"width": 64, "depth": 1, "heads": 4}  # small: a step costs a third of SimMIM's (lesson 13 compares them)


def runs() -> list[Run]:
    """Every line with the same three seeds: on one machine the same first weights, images, steps and labels."""
    return [*(line(f"hidden-{ratio}", seed, ratio) for seed in SEEDS for ratio in RATIOS),
            *(line(name, seed, build=how, broken=name) for seed in SEEDS for name, how in BROKEN.items())]


def line(name: str, seed: int, ratio: float = 0.75, build: Callable[[Run], MAE] = build, **change) -> Run:
    options = {"mask_ratio": ratio, "normalized": False, **DECODER}
    says = {**options, "patch": VIT["patch"], "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS, **change}
    return Run(f"{name}-s{seed}", seed, "mae", options, vit=VIT, build=build,
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 2e-3}, says=says)


class NotPutBack(MAE):
    """Kept tokens reach the decoder in the order of the shuffle, the mask tokens behind them."""

    def encode(self, images, visible, kept=None):
        noise = (~visible.flatten(1)) + torch.rand(visible.flatten(1).shape)
        keep, restore, _ = random_masking(noise, visible_count(visible) if kept is None else kept)
        return self.backbone.tokens(images, keep=keep), torch.arange(restore.shape[1]).expand_as(restore)


def not_put_back(run: Run) -> MAE:
    method = build(run)
    method.__class__ = NotPutBack
    return method


def no_positions(run: Run) -> MAE:
    """The decoder is not told where its tokens are; visible ones still carry the encoder's positions."""
    method = build(run)
    method.decoder.positions.zero_()
    return method


BROKEN = {"not-put-back": not_put_back, "no-positions": no_positions}


def frozen_and_tuned(made: Made, name: str) -> list[dict]:
    """Rows of `score` for the method, for the same network untrained and for pixels; the first two also fine-tuned."""
    networks, seed = (made.method.backbone, made.untrained.backbone), made.run.seed
    found = score(made.method, shapes(), name=name, random_encoder=networks[1], probe_limit=2000, seed=seed)
    for row, network in zip(found, networks):
        row["fine_tuned"] = tuned(network, seed, EPOCHS)
    return found


def rows(made: Made) -> list[dict]:
    if "broken" not in made.run.says:
        return frozen_and_tuned(made, "MAE")
    found = score(made.method, shapes(), name="MAE", controls=False, probe_limit=2000, seed=made.run.seed)
    return [{**found[0], "fine_tuned": tuned(made.method.backbone, made.run.seed, EPOCHS)}]


GRID = Grid("12_mae", runs, rows, "Lesson 12: the share that is hidden, frozen and fine-tuned.",
            show=("knn", "linear", "fine_tuned"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
