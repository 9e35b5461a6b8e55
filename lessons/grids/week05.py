"""Make the stored runs of lesson 05: MoCo v2 on generated shapes with one part changed at a time.

    python lessons/grids/week05.py   # what is missing in lessons/runs/05_moco (about 20 minutes on one core)
"""

from __future__ import annotations

import copy
import sys
from collections import deque

import torch
from grid import SHAPES, Grid, Made, Run, collapse_curves, controls, measure, shapes
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import Batch
from course_lib.evaluate.features import embed_projected
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.exercises import reference
from course_lib.methods.contrastive.moco import MoCoV2, moco_loss, shuffled_keys
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

STEPS, BATCH = 800, 64
FULL = {"momentum": 0.99, "queue": 512, "splits": 2, "shuffle": True, "temperature": 0.1}
CHANGES = {
    "full": {}, "momentum-0": {"momentum": 0.0}, "pairs-apart": {"splits": 32},
    "pairs-together": {"splits": 32, "shuffle": False}, "momentum-1": {"momentum": 1.0},
    "momentum-0.9": {"momentum": 0.9},
}
ONCE = {"queue-64": {"queue": 64}, "queue-2048": {"queue": 2048}}


def runs() -> list[Run]:
    table = [(name, change, seed) for seed in (0, 1, 2) for name, change in CHANGES.items()]
    table += [(name, change, 0) for name, change in ONCE.items()]
    return [line(name, {**FULL, **change}, seed) for name, change, seed in table]


def line(change: str, options: dict, seed: int) -> Run:
    return Run(f"{change}-s{seed}", seed, "moco-v2", {"augment": SHAPES_VIEWS, **options},
               fit={"lr": 1e-3, "steps": STEPS, "batch_size": BATCH, "device": "cpu", "threads": 1},
               says={**options, "steps": STEPS, "change": change, "n": SHAPES}, build=build)


def build(run: Run) -> MoCoV2:
    return Watched(ConvNet(), **run.options)


class Watched(MoCoV2):
    """MoCo v2 that keeps the views of the keys in its queue and, halfway, asks what the stored ones are still worth."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=len(self.queue.rows) // BATCH)
        self.share: list[float] = []

    def encode_keys(self, images: Tensor, order: Tensor) -> Tensor:
        self.kept.appendleft((images, order if self.shuffle else torch.arange(len(images))))
        return super().encode_keys(images, order)

    @torch.no_grad()
    def after_update(self, progress: float) -> None:
        super().after_update(progress)
        if progress >= 0.5 and not self.share and len(self.kept) == self.kept.maxlen:
            keys = copy.deepcopy(self.keys)  # it keeps its statistics
            fresh = torch.stack([shuffled_keys(keys, *batch) for batch in self.kept]).float()
            self.share = reference("05.own_share")(self.queue.rows, self.queue.pointer, fresh).tolist()


@torch.no_grad()
def puzzle(method: MoCoV2, apart: bool, batches: int = 16) -> float:
    """Share of test puzzles solved; are the keys batch-normalised apart from their queries' company, or in it?"""
    twin, right = copy.deepcopy(method).train(), []
    for i in range(batches):
        images = shapes().test.images[i * BATCH : (i + 1) * BATCH]
        a, b, order = method.views(Batch(images, torch.arange(BATCH), None), torch.Generator().manual_seed(i))
        q = twin.head(twin.backbone(standardize(a)))
        k = shuffled_keys(twin.keys, standardize(b), order if apart else torch.arange(BATCH))
        right.append(float(moco_loss(q, k, method.queue.rows)["accuracy"]))
    return sum(right) / batches


def rows(made: Made) -> list[dict]:
    method, history = made.method.eval(), made.history
    late = history.curves["accuracy"][history.steps // 2 :]
    z = normalize(embed_projected(method, shapes().test))
    row = {**measure("MoCo v2", "method", method), "share": method.share, "solved": sum(late) / max(1, len(late)),
           "puzzle_together": puzzle(method, False), "puzzle_apart": puzzle(method, True), "spread": feature_std(z),
           "embedding_rank": effective_rank(z), **collapse_curves(history, z.shape[1])}
    return [row, *controls()]


GRID = Grid("05_moco", runs, rows, "Lesson 05: one part changed at a time.",
            show=("knn", "solved", "puzzle_together", "puzzle_apart", "spread"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
