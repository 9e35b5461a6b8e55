"""Make the stored runs of lesson 01: alignment and uniformity on generated shapes, the lesson's own settings, three seeds.

    python benchmarks/grid_orientation.py              # what is missing in lessons/runs (about 2 minutes)
    python benchmarks/grid_orientation.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from functools import partial

import torch

import grid
from course_lib.augment import SHAPES_VIEWS
from course_lib.backbones import ConvNet
from course_lib.evaluate import embed, score
from course_lib.methods.contrastive.align_uniform import AlignUniform
from course_lib.plots import project
from course_lib.runs import Panel, StoredRun
from course_lib.train import fit
from grid import SHAPES, shapes

RECIPE = {"steps": 300, "lr": 3e-3}
PANEL = 600  # the first test images, whose embedding the lesson opens with


def name_of(seed: int) -> str:
    return f"shapes-align-uniform-convnet-s{seed}"


def make(seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = AlignUniform(ConvNet(), augment=SHAPES_VIEWS)
    history = fit(method, shapes().train, seed=seed, progress=False, **RECIPE)
    rows = score(method, shapes(), name="align-uniform", clusters=True, probe_limit=2000, seed=seed)
    test = shapes().test.head(PANEL)
    features = embed(method, test).numpy()
    points = project(torch.from_numpy(features), "tsne").numpy()
    where = [("test", test.classes[label], number) for number, label in enumerate(test.labels.tolist())]
    return StoredRun.from_history(
        "align-uniform", shapes().train.name, history, id=name_of(seed), backbone="convnet", scores=rows,
        augmentation=repr(SHAPES_VIEWS), seed=seed, settings={"optimizer": "adamw", **RECIPE, "n": SHAPES},
        panel=Panel(features, test.labels.numpy(), where, points),
        note="Lesson 01: alignment and uniformity on generated shapes.")


def main() -> int:
    return grid.main({name_of(seed): partial(make, seed) for seed in (0, 1, 2)}, ".",
                     lambda run: f"kNN {run.scores[0]['knn']:.3f}", __doc__)


if __name__ == "__main__":
    sys.exit(main())
