"""Make the stored runs of lesson 05: MoCo v2 on generated shapes over momentum, queue, and batch norm in parts.

    python benchmarks/grid_moco.py              # what is missing in lessons/runs/05_moco (about 6 minutes)
    python benchmarks/grid_moco.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from collections import deque
from functools import partial

import torch

import grid
from course_lib.augment import SHAPES_VIEWS, normalize
from course_lib.backbones import ConvNet
from course_lib.data import Batch
from course_lib.evaluate import effective_rank
from course_lib.layers import normalize as unit
from course_lib.methods.contrastive.moco import MoCoV2, moco_logits
from course_lib.runs import StoredRun
from course_lib.train import fit
from grid import controls, measure, shapes

STEPS, BATCH, LR, TEMPERATURE = 250, 64, 1e-3, 0.1
MOMENTA, QUEUES = (0.0, 0.5, 0.9, 0.97, 0.99, 1.0), (64, 512, 2048)
BASE = {"momentum": 0.99, "queue": 512, "splits": 1, "shuffle": False}
LEAKS = [{"splits": parts, "shuffle": shuffle} for parts in (8, 32) for shuffle in (False, True)]  # 8 or 2 images a part


def cells() -> list[tuple[dict, int]]:
    """(options, seed) of every run."""
    found = [({**BASE, "momentum": momentum}, seed) for seed in (0, 1, 2) for momentum in (0.0, 0.9, 0.99)]
    found += [({**BASE, **leak}, seed) for seed in (0, 1, 2) for leak in LEAKS]
    found += [({**BASE, "momentum": momentum}, 0) for momentum in MOMENTA if momentum not in (0.0, 0.9, 0.99)]
    return found + [({**BASE, "queue": queue, "momentum": momentum}, 0)
                    for queue in QUEUES if queue != BASE["queue"] for momentum in (0.9, 0.99)]


def name_of(options: dict, seed: int) -> str:
    shuffled = "-shuffled" if options["shuffle"] else ""
    return f"m{options['momentum']:g}-k{options['queue']}-parts{options['splits']}{shuffled}-s{seed}"


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
        q = unit(method.head(method.backbone(normalize(a))))
        logits = moco_logits(q, method.encode_keys(normalize(b), order), method.queue.rows, 1.0)
        right.append((logits[:, 0] > logits[:, 1:].amax(1)).float().mean())
    method.load_state_dict(state)
    method.eval()
    return float(torch.stack(right).mean())


def make(options: dict, seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = Watched(ConvNet(), augment=SHAPES_VIEWS, temperature=TEMPERATURE, **options)
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, lr=LR, seed=seed, progress=False, device="cpu")
    accuracy = history.curves["accuracy"]
    row = {**measure("MoCo v2", "method", method), "fresh": method.fresh, "others": method.others,
           "embedding_std": history.std[-1], "embedding_rank": history.rank[-1],
           "solved": sum(accuracy[STEPS // 4 :]) / len(accuracy[STEPS // 4 :]),
           "puzzle_batch": puzzle(method, True), "puzzle_running": puzzle(method, False)}
    with torch.no_grad():
        row["key_rank"] = effective_rank(method.queue.rows)
    settings = {"optimizer": "adamw", "lr": LR, "temperature": TEMPERATURE, "n": len(shapes().train), **options}
    return StoredRun.from_history(
        "moco-v2", shapes().train.name, history, id=name_of(options, seed), backbone="convnet",
        augmentation=repr(method.augment), seed=seed, settings=settings, scores=[row, *controls()],
        note="Lesson 05: momentum, queue, and batch norm in parts.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return (f"kNN {row['knn']:.3f}  solved {row['solved']:.2f} (batch {row['puzzle_batch']:.2f}, running "
            f"{row['puzzle_running']:.2f})  std {row['embedding_std']:.3f}  fresh {row['fresh'][-1]:.3f}")


if __name__ == "__main__":
    sys.exit(grid.main({name_of(*cell): partial(make, *cell) for cell in cells()}, "05_moco", say, __doc__))
