"""Make the stored runs of lesson 07: SimSiam on generated shapes with parts taken away, and over its predictor's settings.

    python benchmarks/grid_simsiam.py              # what is missing in lessons/runs/07_simsiam (about 6 minutes)
    python benchmarks/grid_simsiam.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch.nn import functional as F

import grid
from course_lib.augment import SHAPES_VIEWS, many_views
from course_lib.backbones import ConvNet
from course_lib.device import pick_device
from course_lib.evaluate import effective_rank, feature_std
from course_lib.methods.contrastive.simsiam import AlternatingSimSiam, SimSiam, best_prediction
from course_lib.runs import StoredRun
from course_lib.train import fit
from grid import controls, measure, shapes

STEPS, BATCH = 250, 64
RECIPE = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4, "warmup": 0.1}
BASE = {"stop": True, "predictor": True, "norm": True, "predictor_lr": 30.0, "bottleneck": 128, "every": 1}
CHANGES = {
    "full": {}, "no-stop": {"stop": False}, "no-predictor": {"predictor": False},
    "no-norm": {"norm": False}, "no-norm-no-stop": {"norm": False, "stop": False},
    "lr-0": {"predictor_lr": 0.0}, "lr-1": {"predictor_lr": 1.0}, "lr-10": {"predictor_lr": 10.0},
    "bottleneck-4": {"bottleneck": 4}, "bottleneck-32": {"bottleneck": 32}, "bottleneck-512": {"bottleneck": 512},
    "every-10": {"every": 10}, "every-50": {"every": 50}, "every-250": {"every": STEPS},
}
REPEATED = ("full", "no-stop", "no-predictor")  # with three seeds


def cells() -> list[tuple[str, int]]:
    return [(name, 0) for name in CHANGES] + [(name, seed) for seed in (1, 2) for name in REPEATED]


@torch.no_grad()
def agreement(method: SimSiam, views: int = 16, images: int = 500) -> dict[str, float]:
    """Mean cosines with a *new* view's projection: of another view's, of its prediction, of the mean over many views."""
    method.eval().to(pick_device())
    generator = torch.Generator().manual_seed(0)
    pictures = shapes().test.images[:images].to(pick_device())
    z = torch.stack([method.project(view) for view in many_views(pictures, [SHAPES_VIEWS] * (views + 1), generator)])
    new, first, many = z[0], z[1], best_prediction(z[1:])
    return {name: float(F.cosine_similarity(p, new, dim=1).mean())
            for name, p in (("view", first), ("prediction", method.predictor(first)), ("mean", many))}


@torch.no_grad()
def embedding(method: SimSiam) -> torch.Tensor:
    return torch.cat([method.project(part.to(pick_device())) for part in shapes().test.images.split(500)]).float().cpu()


def make(name: str, seed: int) -> StoredRun:
    options = {**BASE, **CHANGES[name]}
    every = options.pop("every")
    torch.manual_seed(seed)
    kind = partial(AlternatingSimSiam, every=every) if every > 1 else SimSiam
    method = kind(ConvNet(), augment=SHAPES_VIEWS, **options)
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, seed=seed, progress=False, **RECIPE)
    row = measure("SimSiam", "method", method) | {"agreement": agreement(method)}
    z = embedding(method)
    width = z.shape[1] ** 0.5
    row |= {"embedding_std": feature_std(z), "embedding_rank": effective_rank(z), "rank_steps": history.rank_steps,
            "std_curve": [width * value for value in history.std], "rank_curve": history.rank}
    settings = {**RECIPE, **options, "every": every, "width": z.shape[1], "n": grid.SHAPES, "change": name}
    return StoredRun.from_history("simsiam", shapes().train.name, history, id=f"{name}-s{seed}", backbone="convnet",
                                  augmentation=repr(SHAPES_VIEWS), seed=seed, settings=settings,
                                  scores=[row, *controls()], note="Lesson 07: parts taken away, the predictor's settings.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    near = "  ".join(f"{name} {value:.2f}" for name, value in row["agreement"].items())
    return (f"loss {run.curves['loss'][-1]:.3f}  kNN {row['knn']:.3f}  std {row['embedding_std']:.3f}  "
            f"rank {row['embedding_rank']:.1f}  {near}")


if __name__ == "__main__":
    sys.exit(grid.main({f"{name}-s{seed}": partial(make, name, seed) for name, seed in cells()}, "07_simsiam", say, __doc__))
