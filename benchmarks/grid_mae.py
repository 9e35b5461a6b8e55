"""Make the stored runs of lesson 12: MAE on generated shapes by the share that is hidden, frozen and fine-tuned.

    python benchmarks/grid_mae.py              # what is missing in lessons/runs/12_mae (about 15 minutes of one core)
    python benchmarks/grid_mae.py --again ID   # make one run again and compare it with the stored one
    python benchmarks/grid_mae.py --dry        # a few steps of one run, nothing is stored

Beside the records: patch4.pt, patch8.pt and patch8_norm.pt, methods for pictures with a larger decoder, as float16.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import nn

import grid
from course_lib.augment import Augment
from course_lib.checkpoint import save_small
from course_lib.evaluate import fine_tune, score
from course_lib.methods import build_method
from course_lib.probes import FineTuneResult
from course_lib.runs import StoredRun, runs_folder
from course_lib.train import fit
from grid import shapes

FOLDER, STEPS, BATCH, LABELS, EPOCHS = "12_mae", 2000, 64, 800, 30
VIT = {"patch": 8, "dim": 96, "depth": 4, "heads": 3, "pool": "mean"}
DECODER = {"width": 64, "depth": 1, "heads": 4}  # small: a step costs a third of SimMIM's (lesson 13 compares them)
RECIPE = {"lr": 2e-3}
CROPS = Augment(32, scale=(0.7, 1.0), jitter_p=0.0, gray_p=0.0)  # when fine-tuning
BASE = {"hidden": 0.75, "patch": 8, "normalized": False, "steps": STEPS, **DECODER}
PICTURES = {name: {"width": 96, "depth": 2, "heads": 3, **change} for name, change in {
    "patch8": {"steps": 2500}, "patch8_norm": {"normalized": True, "steps": 1500},
    "patch4": {"patch": 4, "steps": 900}}.items()}


def cells() -> dict[str, tuple[dict, int]]:
    """Name -> (settings, seed): three seeds at the paper's share, one at each other; two for pictures alone."""
    main = {f"hidden-0.75-s{seed}": (BASE, seed) for seed in (0, 1, 2)}
    pictures = {name: ({**BASE, **change}, 0) for name, change in PICTURES.items()}
    return main | pictures | {f"hidden-{hidden}-s0": ({**BASE, "hidden": hidden}, 0) for hidden in (0.25, 0.5, 0.9)}


def build(settings: dict, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_method("mae", "vit-tiny", 32, backbone_options={**VIT, "patch": settings["patch"]},
                        **{key: settings[key] for key in ("hidden", "normalized", *DECODER)})


def tuned(backbone: nn.Module, seed: int, **options) -> FineTuneResult:
    """Fine-tuned on few labels; the labelled images are the same for every method of one seed."""
    return fine_tune(backbone, shapes(), limit=LABELS, batch_size=64, seed=seed, augment=CROPS,
                     **{"epochs": EPOCHS, **options})


def measure(method: nn.Module, fresh: nn.Module, seed: int, name: str, **options) -> list[dict]:
    """Rows of `score` for the method, for the same network untrained and for pixels; the first two also fine-tuned."""
    rows = score(method, shapes(), name=name, random_encoder=fresh, probe_limit=2000, seed=seed)
    rows[0]["fine_tuned"] = tuned(method.backbone, seed, **options).accuracy
    rows[1]["fine_tuned"] = tuned(fresh, seed, **options).accuracy  # from scratch
    return rows


def make(name: str, settings: dict, seed: int) -> StoredRun:
    method, fresh = build(settings, seed), build(settings, seed).backbone
    history = fit(method, shapes().train, steps=settings["steps"], batch_size=BATCH, seed=seed, progress=False, **RECIPE)
    rows = [] if name in PICTURES else measure(method, fresh, seed, "MAE")
    if name in PICTURES:
        save_small(runs_folder() / FOLDER / f"{name}.pt", method)
    settings = {"optimizer": "adamw", **RECIPE, **{f"vit_{key}": value for key, value in VIT.items()}, **settings,
                "n": grid.SHAPES, "labels": LABELS, "epochs": EPOCHS}
    return StoredRun.from_history("mae", shapes().train.name, history, id=name, backbone="vit-tiny", seed=seed,
                                  augmentation=repr(method.augment), settings=settings, scores=rows,
                                  note="Lesson 12: the share that is hidden, frozen and fine-tuned.")


def say(run: StoredRun) -> str:
    row = run.scores[0] if run.scores else {}
    return f"loss {run.curves['loss'][-1]:.3f}  " + "  ".join(
        f"{key} {row[key]:.3f} (untrained {run.scores[1][key]:.3f})" for key in ("knn", "linear", "fine_tuned") if row)


def dry(settings: dict, seed: int) -> None:
    """A few steps and an epoch of a run, to see that it works; nothing is stored."""
    method = build(settings, seed)
    fit(method, shapes().train, steps=3, batch_size=BATCH, seed=seed, progress=False, **RECIPE)
    result = tuned(method.backbone, seed, epochs=1)
    print(f"works: {sum(p.numel() for p in method.parameters())} parameters, fine-tuned for an epoch {result.accuracy:.3f}")


if __name__ == "__main__":
    if "--dry" in sys.argv:
        sys.exit(dry(BASE, 0))
    sys.exit(grid.main({name: partial(make, name, *cell) for name, cell in cells().items()}, FOLDER, say, __doc__))
