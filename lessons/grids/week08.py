"""Make the stored runs of lesson 08: SwAV on generated shapes with one setting changed at a time.

    python lessons/grids/week08.py   # what is missing in lessons/runs/08_swav (about 15 minutes on one core)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, collapse_curves, controls, measure, shapes
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed_projected
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.methods.contrastive.swav import SwAV
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

STEPS, BATCH = 450, 128
# the settings of the learned network; the paper's are 3 rounds, epsilon 0.05, temperature 0.1, no norm at the end
BASE = {"iterations": 10, "epsilon": 0.01, "temperature": 0.07, "norm": True, "prototypes": 1024}
CHANGES = {
    "base": {}, "rounds-0": {"iterations": 0}, "epsilon-1": {"epsilon": 1.0}, "epsilon-0.05": {"epsilon": 0.05},
    "rounds-3": {"iterations": 3}, "no-norm": {"norm": False}, "temperature-0.1": {"temperature": 0.1},
}
THREE = ("base", "rounds-0", "epsilon-1")  # what claims rest on


def runs() -> list[Run]:
    return [line(name, {**BASE, **change}, seed) for seed in (0, 1, 2) for name, change in CHANGES.items()
            if seed == 0 or name in THREE]


def line(change: str, options: dict, seed: int) -> Run:
    return Run(f"{change}-s{seed}", seed, "swav", {"augment": SHAPES_VIEWS, **options},
               fit={**SwAV.recipe, "steps": STEPS, "batch_size": BATCH, "device": "cpu", "threads": 1},
               says={**options, "steps": STEPS, "change": change, "n": SHAPES}, build=build)


class ByThemselves(SwAV):
    """0 rounds: codes without balance, each image its own sharpened softmax."""

    @torch.no_grad()
    def codes(self, embeddings: list[Tensor]) -> list[Tensor]:
        return [F.softmax(self.prototypes(z) / self.epsilon, dim=1) for z in embeddings]


def build(run: Run) -> SwAV:
    kind = SwAV if run.options["iterations"] else ByThemselves
    return kind(ConvNet(), **run.options)


def in_use(shares: Tensor) -> Tensor:
    """exp of the entropy of shares that sum to 1, along the last axis."""
    return torch.special.entr(shares).sum(-1).exp()


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    """Beside the common: of the embedding, of the names of 2000 test images, and of codes in batches as in training."""
    method, test = made.method.eval(), shapes().test
    z = normalize(embed_projected(method, test))
    scores = method.prototypes(z)
    names, whole = scores.argmax(1), len(z) // BATCH * BATCH
    sizes = names.bincount(minlength=scores.shape[1])
    codes = [method.codes([batch])[0] for batch in z[:whole].split(BATCH)]
    row = {**measure("SwAV", "method", method), "spread": feature_std(z), "embedding_rank": effective_rank(z),
           **collapse_curves(made.history, z.shape[1]), "used": float(in_use(sizes / sizes.sum())),
           "choices": float(in_use(torch.cat(codes)).mean()),
           "fair": float(torch.stack([in_use(code.mean(0)) for code in codes]).mean()),
           "sizes": sizes.sort(descending=True).values.tolist(),
           "nmi": float(normalized_mutual_info_score(test.labels, names))}
    return [row, *controls()]


GRID = Grid("08_swav", runs, rows, "Lesson 08: one setting changed at a time.",
            show=("knn", "spread", "embedding_rank", "used", "choices", "fair", "nmi"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
