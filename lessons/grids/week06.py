"""Make the stored runs of lesson 06: BYOL on generated shapes with the predictor or batch norm taken away.

    python lessons/grids/week06.py   # what is missing in lessons/runs/06_byol (about 4 minutes)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, collapse_curves, controls, measure, shapes
from torch import nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.device import pick_device
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.methods.contrastive.byol import BYOL
from course_lib.models.backbones import ConvNet
from course_lib.models.batch_norm import replace_batch_norm
from course_lib.models.layers import normalize

STEPS, BATCH = 300, 32
BASE = {"momentum": 0.9, "predictor": True, "heads": True, "backbone": True, "output": True}
# what is taken away: the predictor, or batch norm from the projector's output, from both heads, from the backbone
CHANGES = {
    "all": {}, "plain": {"output": False}, "no-heads": {"heads": False},
    "no-backbone": {"backbone": False, "output": False},
    "nowhere": {"heads": False, "backbone": False}, "no-predictor": {"predictor": False, "output": False},
    "no-predictor-copy": {"predictor": False, "output": False, "momentum": 0.0},
}


def runs() -> list[Run]:
    return [line(name, {**BASE, **change}, seed) for seed in (0, 1) for name, change in CHANGES.items()]


def line(change: str, options: dict, seed: int) -> Run:
    return Run(f"{change}-s{seed}", seed, "byol", {"augment": SHAPES_VIEWS, **options},
               fit={**BYOL.recipe, "steps": STEPS, "batch_size": BATCH},
               says={**options, "steps": STEPS, "change": change, "n": SHAPES}, build=build)


def build(run: Run) -> BYOL:
    """BYOL with a constant momentum; where batch norm goes, heads have none and the backbone has group norm."""
    options = run.options
    method = BYOL(ConvNet(), augment=options["augment"], momentum=options["momentum"], constant=True,
                  predictor=options["predictor"], norm=options["output"])
    backbone, projector = method.target.module
    if not options["heads"]:
        for head in (method.projector, method.predictor, projector):
            replace_batch_norm(head, lambda channels: nn.Identity())
    if not options["backbone"]:
        for network in (method.backbone, backbone):
            replace_batch_norm(network, lambda channels: nn.GroupNorm(8, channels))
    return method


@torch.no_grad()
def signal_share(network: nn.Module, images: int = 500, views: int = 8) -> float:
    """The share of the variance of the unit outputs that lies between images, not between views of an image."""
    generator, home = torch.Generator().manual_seed(7), pick_device()
    pictures = shapes().test.images[:images]
    z = torch.stack([normalize(network(standardize(SHAPES_VIEWS(pictures, generator)).to(home))) for _ in range(views)])
    between, within = z.mean(0).var(0, correction=0).sum(), z.var(0, correction=0).sum(1).mean()
    return float(between / (between + within).clamp_min(1e-12))


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    method = made.method
    row = measure("BYOL", "method", method)
    online = nn.Sequential(method.backbone, method.projector)
    parts = [standardize(part).to(pick_device()) for part in shapes().test.images.split(500)]
    z = torch.cat([online(part) for part in parts]).float().cpu()
    row |= {"spread": feature_std(z), "centred_spread": feature_std(z - z.mean(0)), "embedding_rank": effective_rank(z),
            **collapse_curves(made.history, z.shape[1]), "share": signal_share(online),
            "teacher_share": signal_share(method.target.module),
            "student_share": signal_share(nn.Sequential(online, method.predictor))}
    return [row, *controls()]


GRID = Grid("06_byol", runs, rows, "Lesson 06: predictor and batch norm taken away.",
            show=("knn", "spread", "embedding_rank", "share", "teacher_share", "student_share"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
