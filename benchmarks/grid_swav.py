"""Make the stored runs of lesson 08: SwAV over epsilon and rounds of Sinkhorn, and small crops at equal compute.

    python benchmarks/grid_swav.py              # what is missing in lessons/runs/08_swav (about 6 minutes on one core)
    python benchmarks/grid_swav.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from sklearn.metrics import normalized_mutual_info_score
from torch.nn import functional as F

import grid
from course_lib.augment import SHAPES_VIEWS
from course_lib.backbones import ConvNet
from course_lib.evaluate import effective_rank, embed
from course_lib.layers import normalize
from course_lib.methods.contrastive.swav import SwAV
from course_lib.runs import StoredRun
from course_lib.train import fit

from grid import SHAPES, controls, measure, shapes

SHORT, STEPS, PROTOTYPES = 100, 200, 128
ROUNDS, EPSILONS = (0, 3, 10), (0.01, 0.05, 1.0)
BEST = dict(rounds=10, epsilon=0.01)
COST = {crops: 2 * 32**2 + crops * 16**2 for crops in (0, 4)}  # pixels per image
PLANS = {"2 crops": (0, STEPS), "2 + 4 crops, equal pixels": (4, STEPS * COST[0] // COST[4]),
         "2 + 4 crops, equal steps": (4, STEPS)}


class ByThemselves(SwAV):
    """0 rounds: codes without balance, each image its own sharpened softmax."""

    def codes(self, embeddings):
        return [F.softmax(self.prototypes(z) / self.epsilon, dim=1) for z in embeddings]


def scores_of(method: SwAV) -> dict:
    """The row of the method: of its representation, of its embedding, and of the names it gives to test images."""
    test = shapes().test
    with torch.no_grad():
        z = normalize(method.projector(embed(method, test)))
        names = method.prototypes(z).argmax(1)
    sizes = names.bincount(minlength=method.prototypes.out_features)
    return {**measure("SwAV", "method", method), "embedding_rank": effective_rank(z), "sizes": sizes.tolist(),
            "used": float(torch.special.entr(sizes / sizes.sum()).sum().exp()),
            "nmi": float(normalized_mutual_info_score(test.labels, names))}


def make(id: str, group: str, steps: int, seed: int, rounds: int, epsilon: float, crops: int = 0,
         plan: str = "", **more) -> StoredRun:
    torch.manual_seed(seed)
    kind = SwAV if rounds else ByThemselves
    method = kind(ConvNet(), augment=SHAPES_VIEWS, prototypes=PROTOTYPES, epsilon=epsilon, iterations=rounds,
                  crops=crops, **more)
    history = fit(method, shapes().train, steps=steps, seed=seed, progress=False, **method.recipe)
    settings = {"optimizer": "adamw", **method.recipe, "n": SHAPES, "group": group, "plan": plan, "epsilon": epsilon,
                "iterations": rounds, "prototypes": PROTOTYPES, "crops": crops, "temperature": method.temperature}
    return StoredRun.from_history("swav", shapes().train.name, history, id=id, backbone="convnet", seed=seed,
                                  augmentation=repr(method.augment), settings=settings,
                                  scores=[scores_of(method), *controls()], note="Lesson 08: codes and crops.")


def cells() -> dict:
    """id -> a function that makes the run."""
    found = {f"codes-{rounds}-{epsilon:g}-s0": dict(group="codes", steps=SHORT, seed=0, rounds=rounds, epsilon=epsilon)
             for rounds in ROUNDS for epsilon in EPSILONS}
    found["paper-s0"] = dict(group="paper", steps=SHORT, seed=0, rounds=3, epsilon=0.05, temperature=0.1, norm=False)
    for seed in (0, 1, 2):
        for plan, (crops, steps) in PLANS.items():
            id = plan.replace(",", "").replace("+ ", "").replace(" ", "-") + f"-s{seed}"
            found[id] = dict(group="crops", steps=steps, seed=seed, crops=crops, plan=plan, **BEST)
    return {id: partial(make, id, **settings) for id, settings in found.items()}


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return (f"kNN {row['knn']:.3f}  loss {run.curves['loss'][-1]:.2f}  in use {row['used']:.1f}  "
            f"rank {row['embedding_rank']:.1f}  NMI {row['nmi']:.2f}")


if __name__ == "__main__":
    sys.exit(grid.main(cells(), "08_swav", say, __doc__))
