"""Make the stored runs of lesson 06: BYOL on generated shapes over momentum, with and without predictor and batch norm.

    python benchmarks/grid_byol.py              # what is missing in lessons/runs/06_byol (about 6 minutes)
    python benchmarks/grid_byol.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import nn

import grid
from course_lib.augment import SHAPES_VIEWS, normalize
from course_lib.backbones import ConvNet
from course_lib.device import pick_device
from course_lib.evaluate import effective_rank, feature_std
from course_lib.layers import normalize as unit
from course_lib.layers import replace_batch_norm
from course_lib.methods.contrastive.byol import BYOL
from course_lib.runs import StoredRun
from course_lib.train import fit
from grid import controls, measure, shapes

STEPS, BATCH = 250, 64
MOMENTA = (0.0, 0.9, 0.99, 1.0)
NORMS = ("everywhere", "not in the heads", "not in the backbone", "nowhere")
BASE = {"momentum": 0.9, "predictor": True, "norm": "everywhere"}
HEADS = ("projector", "predictor")


def cells() -> dict[str, tuple[dict, int]]:
    """Name -> (settings, seed) of every run: the repeated ones first."""
    three = [{**BASE, "momentum": m} for m in MOMENTA] + [{**BASE, "norm": norm} for norm in NORMS[1:]]
    once = [{**BASE, "momentum": m, "predictor": False} for m in MOMENTA]
    found = [(settings, seed) for seed in (0, 1, 2) for settings in three]
    found += [(settings, 0) for settings in once] + [(once[0], seed) for seed in (1, 2)]
    return {name_of(*cell): cell for cell in found}


def name_of(settings: dict, seed: int) -> str:
    parts = [f"m{settings['momentum']:g}", "" if settings["predictor"] else "no-predictor",
             "" if settings["norm"] == "everywhere" else "bn-" + settings["norm"].replace(" ", "-")]
    return "-".join([*filter(None, parts), f"s{seed}"])


def build(settings: dict) -> BYOL:
    method = BYOL(ConvNet(), augment=SHAPES_VIEWS, momentum=settings["momentum"], constant=True,
                  predictor=settings["predictor"])
    target_backbone, target_projector = method.target.module
    if settings["norm"] in ("not in the heads", "nowhere"):
        for head in (method.projector, method.predictor, target_projector):
            replace_batch_norm(head, lambda channels: nn.Identity())
    if settings["norm"] in ("not in the backbone", "nowhere"):
        for backbone in (method.backbone, target_backbone):
            replace_batch_norm(backbone, lambda channels: nn.GroupNorm(8, channels))
    return method


@torch.no_grad()
def signal_share(network: nn.Module, images: int = 500, views: int = 8) -> float:
    """The share of the variance of the unit outputs that lies between images, not between views of an image."""
    generator, home = torch.Generator().manual_seed(7), pick_device()
    pictures = shapes().test.images[:images]
    z = torch.stack([unit(network(normalize(SHAPES_VIEWS(pictures, generator)).to(home))) for _ in range(views)])
    between, within = z.mean(0).var(0, correction=0).sum(), z.var(0, correction=0).sum(1).mean()
    return float(between / (between + within).clamp_min(1e-12))


def make(settings: dict, seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = build(settings)
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, seed=seed, progress=False, **BYOL.recipe)
    row = measure("BYOL", "method", method)
    online = nn.Sequential(method.backbone, method.projector)
    with torch.no_grad():
        z = torch.cat([online(normalize(part).to(pick_device())) for part in shapes().test.images.split(500)]).float().cpu()
    width = z.shape[1] ** 0.5
    row |= {"cosine_std": feature_std(z), "embedding_rank": effective_rank(z), "rank_steps": history.rank_steps,
            "std_curve": [width * value for value in history.std], "rank_curve": history.rank,
            "signal_share": signal_share(online), "teacher_share": signal_share(method.target.module),
            "student_share": signal_share(nn.Sequential(online, method.predictor))}
    return StoredRun.from_history(
        "byol", shapes().train.name, history, id=name_of(settings, seed), backbone="convnet",
        augmentation=repr(SHAPES_VIEWS), seed=seed, settings={"optimizer": "adamw", **BYOL.recipe, **settings, "n": grid.SHAPES},
        scores=[row, *controls()], note="Lesson 06: momentum, predictor, batch norm.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return (f"loss {run.curves['loss'][-1]:.3f}  kNN {row['knn']:.3f}  std {row['cosine_std']:.3f}  rank "
            f"{row['embedding_rank']:.1f}  share {row['signal_share']:.2f} {row['teacher_share']:.2f} {row['student_share']:.2f}")


if __name__ == "__main__":
    runs = {name: partial(make, *cell) for name, cell in cells().items()}
    sys.exit(grid.main(runs, "06_byol", say, __doc__))
