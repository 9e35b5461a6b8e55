"""Make the stored runs of lesson 13: SimMIM on generated shapes by its mask, frozen and fine-tuned.

    python lessons/grids/week13.py   # what is missing in lessons/runs/13_simmim (about 15 minutes of one core)

Network, first weights, images, views, optimizer, labels and fine-tuning are those of `week12.py`, so the control from
scratch is MAE's own. The steps are as many as cost the multiply-adds of MAE's 2000 at a mask ratio of 0.75.

Two pairs of masks: squares of 8 pixels at 0.75 and of 16 at 0.25 have one distance, of 8 and of 16 at 0.5 one ratio.
Another line scores visible pixels as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from grid import LABELS, SHAPES, Grid, Made, Run, build, shapes, tuned
from week12 import BATCH, DECODER, EPOCHS, SEEDS, VIT

from course_lib.augment.masks import coarse_mask
from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import Augment
from course_lib.data.images import Splits
from course_lib.evaluate.reconstruction import average_distance, fill_nearest, hidden_error
from course_lib.evaluate.scoring import score
from course_lib.methods import build_method
from course_lib.methods.masked.mae import MAE
from course_lib.methods.masked.simmim import SimMIM

STEPS = 816
MASKS = [(8, 0.5), (8, 0.75), (16, 0.25), (16, 0.5)]
VIEWS = Augment(32, scale=(0.2, 1.0), jitter_p=0.0, gray_p=0.0)  # MAE's
NETWORK = {**VIT, "positions": "sincos", "relative": None, "layer_scale": None, "key_bias": True}


def runs() -> list[Run]:
    """Every line with the same three seeds: on one machine the same first weights, images, steps and labels."""
    return [*(line(f"mask-{patch}-{ratio}", seed, patch, ratio) for seed in SEEDS for patch, ratio in MASKS),
            *(line("all-scored", seed, build=all_scored, broken="all-scored") for seed in SEEDS)]


def begins_like_mae(run: Run) -> SimMIM:
    """The method over the network that lesson 12's run of that seed begins with, and with MAE's optimizer."""
    mae = build_method("mae", "vit-tiny", 32, backbone_options=VIT, **DECODER)
    method = build(run)
    method.backbone.load_state_dict(mae.backbone.state_dict())
    method.recipe = MAE.recipe
    return method


class AllScored(SimMIM):
    """Visible pixels are scored, too."""

    def loss(self, views, progress=0.0):
        images = standardize(views[0])
        return {"loss": (self.decode(images, views[1]) - images).abs().mean(), "views_per_image": 1}


def all_scored(run: Run) -> SimMIM:
    method = begins_like_mae(run)
    method.__class__ = AllScored
    return method


def line(name: str, seed: int, patch: int = 8, ratio: float = 0.5, build: Callable[[Run], SimMIM] = begins_like_mae,
         **change) -> Run:
    says = {"mask_patch": patch, "mask_ratio": ratio, "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS}
    return Run(f"{name}-s{seed}", seed, "simmim", {"mask_ratio": ratio, "mask_patch": patch, "augment": VIEWS},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 2e-3}, vit=NETWORK, build=build, says={**says, **change})


def rows(made: Made) -> list[dict]:
    """Fine-tuned; of test images the error on hidden pixels, a copy's, and how far those pixels are.

    Of the first mask also a row of `score`, and the control: it is the same for all lines of a seed, and lesson 12's.
    """
    method, seed, images = made.method.eval(), made.run.seed, shapes()
    noise = torch.rand(512, method.mask_grid, method.mask_grid, generator=torch.Generator().manual_seed(0))
    visible = coarse_mask(noise, method.mask_ratio, method.mask_patch // method.patch)
    test = to_float(images.test.images[:512])
    found = {"distance": average_distance(visible, 32),
             "copy": hidden_error(fill_nearest(test, visible), test, visible),
             "error": hidden_error(method.reconstruct(test, visible), test, visible)}
    # validation after each epoch picks nothing and takes half of the time
    few = Splits(images.train, images.validation.head(64), images.test)
    found["fine_tuned"] = tuned(method.backbone, seed, EPOCHS, few)
    if not made.run.id.startswith("mask-8-0.5"):
        return [{"name": "SimMIM", "kind": "method", **found}]
    (first,) = score(method, images, name="SimMIM", controls=False, probe_limit=2000, seed=seed)
    scratch = tuned(made.untrained.backbone, seed, EPOCHS, few)
    return [{**first, **found}, {"name": "random encoder", "kind": "control", "fine_tuned": scratch}]


GRID = Grid("13_simmim", runs, rows, "Lesson 13: masks by distance, frozen and fine-tuned.",
            show=("fine_tuned", "distance", "error", "copy"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
