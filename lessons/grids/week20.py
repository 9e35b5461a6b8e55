"""Make the stored runs of lesson 20: SimCLR on views that differ in colour a little, or a lot.

    python lessons/grids/week20.py   # what is missing in lessons/runs/20_good_views (20 seconds of one core each)

One knob: the strength of all changes of colour. Crops, steps, batches and seeds are equal.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, two_views
from course_lib.data.shapes import draw_causes, render
from course_lib.evaluate.features import reinitialise
from course_lib.evaluate.label_free import rotation_probe
from course_lib.methods.information.estimators import infonce
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

STEPS, BATCH, LR, CANDIDATES = 400, 64, 1e-3, 1000
STRENGTHS = (0.6, 1.6, 0.0, 0.3, 0.1, 1.0)
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # of the critic, picked on validation images


def views_of(strength: float) -> Augment:
    """The views of all shapes networks at strength 1; hues are never turned by more than half a circle."""
    return Augment(scale=(0.8, 1.0), jitter=(*[0.4 * strength] * 3, min(0.5, 0.5 * strength)), jitter_p=1.0,
                   gray_p=0.3 * strength)


def runs() -> list[Run]:
    return [line(strength, seed) for seed in (0, 1, 2) for strength in STRENGTHS]


def line(strength: float, seed: int) -> Run:
    return Run(f"colour-{strength}-s{seed}", seed, "simclr", {"augment": views_of(strength), "temperature": 0.2},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"strength": strength, "n": SHAPES, "temperature": 0.2})


@torch.no_grad()
def information(method: nn.Module, images: Tensor, seed: int) -> dict[float, float]:
    """InfoNCE's bound between two views of these images, in nats, by the critic's temperature."""
    q, k = (normalize(method.head(method.backbone(standardize(view))))
            for view in two_views(images, method.augment, torch.Generator().manual_seed(seed)))
    return {t: float(infonce(q @ k.T / t)) for t in TEMPERATURES}


@lru_cache
def upright() -> Tensor:
    """Images whose objects are never turned, and are all lit from above: here a rotation can be told."""
    causes = draw_causes(3000, torch.Generator().manual_seed(5))
    causes["angle"], causes["lighting"] = torch.zeros(3000), torch.ones(3000)
    return render(causes, generator=torch.Generator().manual_seed(6))


def rotations(encoder: nn.Module) -> dict[str, float]:
    """Accuracy of naming rotations: of the images as they are, and of upright ones."""
    def look(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([encoder(standardize(part)) for part in images.split(500)])

    splits, parts = shapes(), {}
    sets = {"rotation": [part.images[:few(1000, 60)] for part in (splits.train, splits.validation, splits.test)],
            "rotation_upright": list(upright().split(1000))}
    for name, (train, validation, test) in sets.items():
        parts[name] = rotation_probe(look, train, validation[:500], test).accuracy
    return parts


@lru_cache
def controlled() -> list[dict]:
    rows = [dict(row) for row in controls()]
    rows[0] |= rotations(reinitialise(ConvNet(), 0).eval())
    return rows


def rows(made: Made) -> list[dict]:
    method = made.method.eval()
    row = measure("simclr", "method", method.evaluated)
    picked = information(method, made.splits.validation.images[:few(CANDIDATES, 60)], 8)
    best = max(picked, key=picked.__getitem__)
    row |= {"information": information(method, made.splits.test.images[:few(CANDIDATES, 60)], 9)[best],
            "critic_temperature": best, **rotations(method.evaluated)}
    return [row, *controlled()]


GRID = Grid("20_good_views", runs, rows, "Lesson 20: one strength for all changes of colour.",
            show=("knn", "information", "rotation", "rotation_upright"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
