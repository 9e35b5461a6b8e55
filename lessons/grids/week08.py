"""Make the stored runs of lesson 08: SwAV over epsilon and rounds of Sinkhorn, and small crops at equal compute.

    python lessons/grids/week08.py   # what is missing in lessons/runs/08_swav (about 6 minutes on one core)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, measure, shapes
from sklearn.metrics import normalized_mutual_info_score
from torch.nn import functional as F

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed
from course_lib.evaluate.measures import effective_rank
from course_lib.methods.contrastive.swav import SwAV
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

SHORT, STEPS = 100, 200
BASE = {"epsilon": 0.01, "iterations": 10, "prototypes": 128, "crops": 0, "temperature": 0.07}
COST = {crops: 2 * 32**2 + crops * 16**2 for crops in (0, 4)}  # pixels per image
PLANS = {"2 crops": (0, STEPS), "2 + 4 crops, equal pixels": (4, STEPS * COST[0] // COST[4]),
         "2 + 4 crops, equal steps": (4, STEPS)}


def runs() -> list[Run]:
    table = [line(f"codes-{rounds}-{epsilon:g}-s0", "codes", SHORT, iterations=rounds, epsilon=epsilon)
             for rounds in (0, 3, 10) for epsilon in (0.01, 0.05, 1.0)]
    table.append(line("paper-s0", "paper", SHORT, iterations=3, epsilon=0.05, temperature=0.1, norm=False))
    for seed in (0, 1, 2):
        for plan, (crops, steps) in PLANS.items():
            id = plan.replace(",", "").replace("+ ", "").replace(" ", "-") + f"-s{seed}"
            table.append(line(id, "crops", steps, seed, plan, crops=crops))
    return table


def line(id: str, group: str, steps: int, seed: int = 0, plan: str = "", **change) -> Run:
    options = {**BASE, **change}
    return Run(id, seed, "swav", {"augment": SHAPES_VIEWS, **options}, fit={"steps": steps, **SwAV.recipe}, build=build,
               says={"n": SHAPES, "group": group, "plan": plan, **{key: options[key] for key in BASE}})


class ByThemselves(SwAV):
    """0 rounds: codes without balance, each image its own sharpened softmax."""

    def codes(self, embeddings):
        return [F.softmax(self.prototypes(z) / self.epsilon, dim=1) for z in embeddings]


def build(run: Run) -> SwAV:
    kind = SwAV if run.options["iterations"] else ByThemselves
    return kind(ConvNet(), **run.options)


def rows(made: Made) -> list[dict]:
    """Beside the common: of the embedding, and of the names that the prototypes give to test images."""
    method, test = made.method, shapes().test
    with torch.no_grad():
        z = normalize(method.projector(embed(method, test)))
        names = method.prototypes(z).argmax(1)
    sizes = names.bincount(minlength=method.prototypes.out_features)
    row = {**measure("SwAV", "method", method), "embedding_rank": effective_rank(z), "sizes": sizes.tolist(),
           "used": float(torch.special.entr(sizes / sizes.sum()).sum().exp()),
           "nmi": float(normalized_mutual_info_score(test.labels, names))}
    return [row, *controls()]


GRID = Grid("08_swav", runs, rows, "Lesson 08: codes and crops.", show=("knn", "used", "embedding_rank", "nmi"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
