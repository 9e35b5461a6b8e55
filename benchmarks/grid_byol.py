"""Make the stored runs of lesson 06: BYOL on generated shapes with the predictor or batch norm taken away.

    python benchmarks/grid_byol.py              # what is missing in lessons/runs/06_byol (about 4 minutes)
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

STEPS, BATCH = 300, 32
BASE = {"momentum": 0.9, "predictor": True, "heads": True, "backbone": True, "output": True, "steps": STEPS}
# what is taken away: the predictor, or batch norm from the projector's output, from both heads, from the backbone
CHANGES = {
    "all": {}, "plain": {"output": False}, "no-heads": {"heads": False}, "no-backbone": {"backbone": False, "output": False},
    "nowhere": {"heads": False, "backbone": False}, "no-predictor": {"predictor": False, "output": False},
    "no-predictor-copy": {"predictor": False, "output": False, "momentum": 0.0},
}


def cells() -> dict[str, tuple[dict, int]]:
    """Name -> (settings, seed): short runs with a part taken away, two seeds each."""
    return {f"{name}-s{seed}": ({**BASE, **change, "change": name}, seed) for seed in (0, 1) for name, change in CHANGES.items()}


def build(settings: dict) -> BYOL:
    """BYOL with a constant momentum; where batch norm goes, heads have none and the backbone has group norm."""
    method = BYOL(ConvNet(), augment=SHAPES_VIEWS, momentum=settings["momentum"], constant=True,
                  predictor=settings["predictor"], norm=settings["output"])
    backbone, projector = method.target.module
    if not settings["heads"]:
        for head in (method.projector, method.predictor, projector):
            replace_batch_norm(head, lambda channels: nn.Identity())
    if not settings["backbone"]:
        for network in (method.backbone, backbone):
            replace_batch_norm(network, lambda channels: nn.GroupNorm(8, channels))
    return method


@torch.no_grad()
def signal_share(network: nn.Module, images: int = 500, views: int = 8) -> float:
    """The share of the variance of the unit outputs that lies between images, not between views of an image."""
    generator, home = torch.Generator().manual_seed(7), pick_device()
    pictures = shapes().test.images[:images]
    z = torch.stack([unit(network(normalize(SHAPES_VIEWS(pictures, generator)).to(home))) for _ in range(views)])
    between, within = z.mean(0).var(0, correction=0).sum(), z.var(0, correction=0).sum(1).mean()
    return float(between / (between + within).clamp_min(1e-12))


def make(name: str, settings: dict, seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = build(settings)
    history = fit(method, shapes().train, steps=STEPS, seed=seed, progress=False,
                  **{**BYOL.recipe, "batch_size": BATCH})
    row = measure("BYOL", "method", method)
    online = nn.Sequential(method.backbone, method.projector)
    with torch.no_grad():
        z = torch.cat([online(normalize(part).to(pick_device())) for part in shapes().test.images.split(500)]).float().cpu()
    width = z.shape[1] ** 0.5
    row |= {"spread": feature_std(z), "centred_spread": feature_std(z - z.mean(0)), "embedding_rank": effective_rank(z),
            "rank_steps": history.rank_steps, "std_curve": [width * value for value in history.std],
            "rank_curve": history.rank, "share": signal_share(online), "teacher_share": signal_share(method.target.module),
            "student_share": signal_share(nn.Sequential(online, method.predictor))}
    settings = {"optimizer": "adamw", **BYOL.recipe, "batch_size": BATCH, **settings, "n": grid.SHAPES}
    return StoredRun.from_history("byol", shapes().train.name, history, id=name, backbone="convnet",
                                  augmentation=repr(SHAPES_VIEWS), seed=seed, settings=settings,
                                  scores=[row, *controls()], note="Lesson 06: predictor and batch norm taken away.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return (f"loss {run.curves['loss'][-1]:.3f}  kNN {row['knn']:.3f}  class {row['factors']['class']:.2f}  spread "
            f"{row['spread']:.3f}  rank {row['embedding_rank']:.1f}  shares {row['share']:.2f} {row['teacher_share']:.2f} "
            f"{row['student_share']:.2f}")


if __name__ == "__main__":
    runs = {name: partial(make, name, *cell) for name, cell in cells().items()}
    sys.exit(grid.main(runs, "06_byol", say, __doc__))
