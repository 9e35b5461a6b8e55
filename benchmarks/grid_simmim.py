"""Make the stored runs of lesson 13: SimMIM on generated shapes by mask patch and share, frozen and fine-tuned.

    python benchmarks/grid_simmim.py              # what is missing in lessons/runs/13_simmim (about 15 minutes of one core)
    python benchmarks/grid_simmim.py --again ID   # make one run again and compare it with the stored one
    python benchmarks/grid_simmim.py --dry        # a few steps of one run, nothing is stored

The first three have as many multiply-adds in training as the runs of lesson 12 (`grid_mae.py`), with which they are
compared. Beside the records: simmim.pt, the first run's method, weights as float16.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import nn

import grid
from course_lib.augment import patch_mask
from course_lib.checkpoint import save_small
from course_lib.methods import build_method
from course_lib.methods.masked.simmim import SIMMIM_VIT
from course_lib.reconstruction import average_distance
from course_lib.runs import StoredRun, runs_folder
from course_lib.train import fit
from grid import shapes
from grid_mae import BATCH, EPOCHS, LABELS, VIT, measure, tuned

FOLDER, STEPS = "13_simmim", 816
RECIPE = {"lr": 2e-3, "clip": 5.0}


def cells() -> dict[str, tuple[dict, int]]:
    """Name -> (settings, seed): three seeds of one mask, one of each other."""
    settings = {(8, 0.5): (0, 1, 2), (8, 0.25): (0,), (8, 0.75): (0,), (16, 0.25): (0,), (16, 0.5): (0,), (16, 0.75): (0,)}
    return {f"mask-{patch}-{hidden}-s{seed}": ({"mask_patch": patch, "hidden": hidden, "steps": STEPS}, seed)
            for (patch, hidden), seeds in settings.items() for seed in seeds}


def build(settings: dict, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_method("simmim", "vit-tiny", 32, backbone_options={**VIT, **SIMMIM_VIT},
                        hidden=settings["hidden"], mask_patch=settings["mask_patch"])


def make(name: str, settings: dict, seed: int) -> StoredRun:
    method, fresh = build(settings, seed), build(settings, seed).backbone
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, seed=seed, progress=False, **RECIPE)
    rows = measure(method, fresh, seed, "SimMIM")
    masks = patch_mask(64, method.mask_grid, settings["hidden"], torch.Generator().manual_seed(0))
    rows[0]["distance"] = average_distance(masks, 32)
    if name == "mask-8-0.5-s0":
        save_small(runs_folder() / FOLDER / "simmim.pt", method)
    settings = {"optimizer": "adamw", **RECIPE, **{f"vit_{key}": value for key, value in {**VIT, **SIMMIM_VIT}.items()},
                **settings, "n": grid.SHAPES, "labels": LABELS, "epochs": EPOCHS}
    return StoredRun.from_history("simmim", shapes().train.name, history, id=name, backbone="vit-tiny", seed=seed,
                                  augmentation=repr(method.augment), settings=settings, scores=rows,
                                  note="Lesson 13: masks by distance, frozen and fine-tuned.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return f"loss {run.curves['loss'][-1]:.3f}  distance {row['distance']:.2f}  " + "  ".join(
        f"{key} {row[key]:.3f} (untrained {run.scores[1][key]:.3f})" for key in ("knn", "linear", "fine_tuned"))


def dry() -> None:
    method = build({"mask_patch": 8, "hidden": 0.5}, 0)
    fit(method, shapes().train, steps=3, batch_size=BATCH, progress=False, **RECIPE)
    print(f"works: {sum(p.numel() for p in method.parameters())} parameters, fine-tuned for an epoch "
          f"{tuned(method.backbone, 0, epochs=1).accuracy:.3f}")


if __name__ == "__main__":
    if "--dry" in sys.argv:
        sys.exit(dry())
    sys.exit(grid.main({name: partial(make, name, *cell) for name, cell in cells().items()}, FOLDER, say, __doc__))
