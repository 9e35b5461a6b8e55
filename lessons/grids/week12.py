"""Make the stored runs of lesson 12: MAE on generated shapes by the share that is hidden, frozen and fine-tuned.

    python lessons/grids/week12.py   # what is missing in lessons/runs/12_mae (about 15 minutes of one core)

Beside the records: patch4.pt, patch8.pt and patch8_norm.pt, methods for pictures with a larger decoder, as float16.
"""

from __future__ import annotations

import sys

from grid import LABELS, SHAPES, Grid, Made, Run, shapes, tuned

from course_lib.evaluate.scoring import score

STEPS, BATCH, EPOCHS = 2000, 64, 30
VIT = {"patch": 8, "dim": 96, "depth": 4, "heads": 3, "pool": "mean"}
DECODER = {"width": 64, "depth": 1, "heads": 4}  # small: a step costs a third of SimMIM's (lesson 13 compares them)
BASE = {"mask_ratio": 0.75, "patch": 8, "normalized": False, "steps": STEPS, **DECODER}
PICTURES = {name: {"width": 96, "depth": 2, "heads": 3, **change} for name, change in {
    "patch8": {"steps": 2500}, "patch8_norm": {"normalized": True, "steps": 1500},
    "patch4": {"patch": 4, "steps": 900}}.items()}


def runs() -> list[Run]:
    """Three seeds at the paper's share, one at each other; two patch sizes for pictures alone."""
    return [*(line(f"hidden-0.75-s{seed}", seed) for seed in (0, 1, 2)),
            *(line(name, **change) for name, change in PICTURES.items()),
            *(line(f"hidden-{ratio}-s0", mask_ratio=ratio) for ratio in (0.25, 0.5, 0.9))]


def line(id: str, seed: int = 0, **change) -> Run:
    says = {**BASE, **change}  # vit_patch: every record has 8, `patch` is the one that was used
    return Run(id, seed, "mae", {key: says[key] for key in ("mask_ratio", "normalized", *DECODER)},
               fit={"steps": says["steps"], "batch_size": BATCH, "lr": 2e-3}, vit={**VIT, "patch": says["patch"]},
               says={**says, "vit_patch": VIT["patch"], "n": SHAPES, "labels": LABELS, "epochs": EPOCHS})


def frozen_and_tuned(made: Made, name: str) -> list[dict]:
    """Rows of `score` for the method, for the same network untrained and for pixels; the first two also fine-tuned."""
    networks, seed = (made.method.backbone, made.untrained.backbone), made.run.seed
    found = score(made.method, shapes(), name=name, random_encoder=networks[1], probe_limit=2000, seed=seed)
    for row, network in zip(found, networks):
        row["fine_tuned"] = tuned(network, seed, EPOCHS)
    return found


def rows(made: Made) -> list[dict]:
    if made.run.id not in PICTURES:
        return frozen_and_tuned(made, "MAE")
    made.beside[f"{made.run.id}.pt"] = made.method
    return []


GRID = Grid("12_mae", runs, rows, "Lesson 12: the share that is hidden, frozen and fine-tuned.",
            show=("knn", "linear", "fine_tuned"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
