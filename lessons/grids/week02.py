"""Make the stored runs of lesson 02: SparK and what is left of it when one part is taken away.

    python lessons/grids/week02.py   # what is missing in lessons/runs/02_spark (about 25 minutes of one core)

All else is the same in every line of a seed: first weights, images, views, optimizer, steps, labels and fine-tuning.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from grid import LABELS, SHAPES, Grid, Made, Run, shapes, tuned
from grid import build as build_run

from course_lib.augment.masks import enlarge, patch_mask
from course_lib.augment.pixels import standardize, to_float
from course_lib.data.images import Splits
from course_lib.evaluate.norms import renew_statistics, statistics_shift
from course_lib.evaluate.scoring import score
from course_lib.methods.masked.spark import LightDecoder, SparK, spark_loss
from course_lib.models.batch_norm import BatchNorm2d

SEEDS, STEPS, BATCH, EPOCHS = (0, 1, 2), 400, 128, 30


class ZeroFilled(SparK):
    """Hidden pixels are 0, and the encoder is an ordinary one: it may write into the holes, and counts them."""

    def encode(self, images, visible):
        return self.backbone.stages(images * enlarge(visible, images.shape[-1]))


class CountsHoles(BatchNorm2d):
    """Statistics over all positions, holes included; hidden positions come out as 0 all the same."""

    def forward(self, x):
        visible, self.visible = self.visible, None
        y = super().forward(x)
        return y if visible is None else y * visible


class OneScale(LightDecoder):  # only the smallest map reaches the decoder
    def forward(self, maps):
        return super().forward([maps[0], *[None] * (len(maps) - 1)])


LINES = {"spark": {}, "zero-filled": {SparK: ZeroFilled}, "counts-holes": {BatchNorm2d: CountsHoles},
         "one-scale": {LightDecoder: OneScale}, "plain-pixels": {}}


def build(run: Run) -> SparK:
    """SparK; modules of one class are changed into its variant, with the weights that they have."""
    method = build_run(run)
    for layer in method.modules():
        layer.__class__ = LINES[run.says["line"]].get(type(layer), type(layer))
    return method


def runs() -> list[Run]:
    return [line(name, seed) for seed in SEEDS for name in LINES]


def line(name: str, seed: int) -> Run:
    options = {"mask_ratio": 0.6, "normalized": name != "plain-pixels"}
    says = {**options, "line": name, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS}
    return Run(f"{name}-s{seed}", seed, "spark", options, build=build, says=says,
               fit={"steps": STEPS, "batch_size": BATCH, "device": "cpu"})


def rows(made: Made) -> list[dict]:
    """Frozen, frozen with batch norm's statistics renewed, fine-tuned; SparK's own line carries the controls."""
    method, seed, splits = made.method.eval(), made.run.seed, shapes()
    some, test = to_float(splits.train.images[:1000]), to_float(splits.test.images[:512])
    measure = partial(score, splits=splits, probe_limit=2000, seed=seed)
    own = made.run.says["line"] == "spark"
    found = measure(method, name=made.run.says["line"], factors=True, controls=own,
                    random_encoder=made.untrained.backbone)
    # validation after each epoch picks nothing and takes time
    few = Splits(splits.train, splits.validation.head(64), splits.test)
    for row, network in zip(found, (method.backbone, made.untrained.backbone)):
        (renewed,) = measure(renew_statistics(network, some), controls=False)
        row |= {"fine_tuned": tuned(network, seed, EPOCHS, few), "renewed_knn": renewed["knn"],
                "renewed_linear": renewed["linear"]}
    visible = patch_mask(512, method.grid, method.mask_ratio, torch.Generator().manual_seed(0))
    images = standardize(test.clone())
    with torch.no_grad():
        drawn = method.decode(images, visible)
    found[0]["test_loss"] = float(spark_loss(drawn, images, visible, method.normalized))
    found[0]["shift"], found[0]["scale"] = statistics_shift(method.backbone, test)
    return found


GRID = Grid("02_spark", runs, rows, "Lesson 02: SparK, one part taken away at a time, frozen and fine-tuned.",
            show=("knn", "linear", "fine_tuned", "test_loss"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
