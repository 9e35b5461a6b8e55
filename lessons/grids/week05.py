"""Make the stored runs of lesson 05: MoCo v2 on generated shapes over momentum, queue, and batch norm in parts.

    python lessons/grids/week05.py   # what is missing in lessons/runs/05_moco (about 6 minutes)
"""

from __future__ import annotations

import sys
from collections import deque

import torch
from grid import SHAPES, Grid, Made, Run, controls, measure, shapes

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import Batch
from course_lib.evaluate.measures import effective_rank
from course_lib.methods.contrastive.moco import MoCoV2, moco_logits
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

STEPS, BATCH, LR, TEMPERATURE = 250, 64, 1e-3, 0.1
BASE = {"momentum": 0.99, "queue": 512, "splits": 1, "shuffle": False}
MOMENTA, REPEATED, QUEUES = (0.5, 0.97, 1.0), (0.0, 0.9, 0.99), (64, 2048)
# 8 or 2 images a part
LEAKS = [{"splits": parts, "shuffle": shuffle} for parts in (8, 32) for shuffle in (False, True)]


def runs() -> list[Run]:
    table = [({"momentum": momentum}, seed) for seed in (0, 1, 2) for momentum in REPEATED]
    table += [(leak, seed) for seed in (0, 1, 2) for leak in LEAKS]
    table += [({"momentum": momentum}, 0) for momentum in MOMENTA]
    table += [({"queue": queue, "momentum": momentum}, 0) for queue in QUEUES for momentum in (0.9, 0.99)]
    return [line({**BASE, **change}, seed) for change, seed in table]


def line(options: dict, seed: int) -> Run:
    shuffled = "-shuffled" if options["shuffle"] else ""
    id = f"m{options['momentum']:g}-k{options['queue']}-parts{options['splits']}{shuffled}-s{seed}"
    return Run(id, seed, "moco-v2", {"augment": SHAPES_VIEWS, **options, "temperature": TEMPERATURE},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu"},
               says={"temperature": TEMPERATURE, "n": SHAPES, **options}, build=build)


def build(run: Run) -> MoCoV2:
    return Watched(ConvNet(), **run.options)


class Watched(MoCoV2):
    """MoCo v2 that keeps the views of its latest keys and, halfway, encodes them again: how far have they drifted?"""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.kept: deque = deque(maxlen=8)
        self.fresh: list[float] = []
        self.others: list[float] = []

    def encode_keys(self, images, order):
        keys = super().encode_keys(images, order)
        self.kept.append((images, order, keys))
        return keys

    @torch.no_grad()
    def after_update(self, progress: float) -> None:
        if progress >= 0.5 and not self.fresh:
            for images, order, keys in list(self.kept)[::-1]:  # the newest first
                cosines = keys @ MoCoV2.encode_keys(self, images, order).T
                own = cosines.diagonal().sum()
                self.fresh.append(float(own / len(keys)))
                self.others.append(float((cosines.sum() - own) / (len(keys) * (len(keys) - 1))))
        super().after_update(progress)


@torch.no_grad()
def puzzle(method: MoCoV2, training: bool, batches: int = 5) -> float:
    """Accuracy of the pretext task on test images against the queue, batch norm with batch or running statistics."""
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method.train(training)
    right = []
    for i in range(batches):
        images = shapes().test.images[i * BATCH : (i + 1) * BATCH]
        a, b, order = method.views(Batch(images, torch.arange(BATCH), None), torch.Generator().manual_seed(i))
        q = normalize(method.head(method.backbone(standardize(a))))
        logits = moco_logits(q, method.encode_keys(standardize(b), order), method.queue.rows, 1.0)
        right.append((logits[:, 0] > logits[:, 1:].amax(1)).float().mean())
    method.load_state_dict(state)
    method.eval()
    return float(torch.stack(right).mean())


def rows(made: Made) -> list[dict]:
    method, history = made.method, made.history
    late = history.curves["accuracy"][history.steps // 4 :]
    row = {**measure("MoCo v2", "method", method), "fresh": method.fresh, "others": method.others,
           "embedding_std": history.std[-1], "embedding_rank": history.rank[-1], "solved": sum(late) / len(late),
           "puzzle_batch": puzzle(method, True), "puzzle_running": puzzle(method, False),
           "key_rank": effective_rank(method.queue.rows)}
    return [row, *controls()]


GRID = Grid("05_moco", runs, rows, "Lesson 05: momentum, queue, and batch norm in parts.",
            show=("knn", "solved", "puzzle_batch", "puzzle_running", "embedding_std"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
