"""Make the stored runs of lesson 19: GATCluster's four tasks, each alone, and all but one.

    python lessons/grids/week19.py   # what is missing in lessons/runs/19_gatcluster (a few seconds of one core each)

Only the heads are trained, on the frozen maps of lesson 04's learned SimCLR, which are computed once. A task is left
out by its weight 0; maps, steps, batches and seeds are equal.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, by_hand, cluster_row, kmeans_row, shapes
from torch import Tensor, nn

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import TURNED_VIEWS
from course_lib.evaluate.attention import pointing
from course_lib.runs.networks import learned

STEPS, BATCH, LR, CLUSTERS, POOL, COPIES = 240, 64, 2e-3, 8, 1024, 4
WEIGHTS = {"invariance": 5.0, "relation": 1.0, "entropy": 3.0, "attention": 5.0}
LINES = {"all": WEIGHTS, **{f"no-{task}": {**WEIGHTS, task: 0.0} for task in WEIGHTS},
         **{f"only-{task}": {**dict.fromkeys(WEIGHTS, 0.0), task: WEIGHTS[task]} for task in WEIGHTS}}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in LINES]


def line(name: str, seed: int) -> Run:
    options = {"clusters": CLUSTERS, "pool": POOL, **LINES[name]}
    return Run(f"{name}-s{seed}", seed, "gatcluster", {"augment": TURNED_VIEWS, **options},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "optimizer": "adam"},
               says={**options, "line": name, "n": SHAPES, "copies": COPIES, "frozen": "simclr"})


@lru_cache
@torch.no_grad()
def frozen() -> tuple[Tensor, Tensor, Tensor]:
    """SimCLR's maps of the pool (M, 128, 4, 4), of COPIES transformed pools (COPIES, M, ...), of the test images."""
    network = learned("simclr").method.evaluated
    look = lambda images: torch.cat([network.stages(standardize(x))[-1] for x in images.split(256)])  # noqa: E731
    pool, generator = shapes().train.images[:POOL], torch.Generator().manual_seed(0)
    return (look(to_float(pool)), torch.stack([look(TURNED_VIEWS(pool, generator)) for _ in range(COPIES)]),
            look(to_float(shapes().test.images)))


def train_heads(run: Run, out: Path | None = None) -> Made:
    """Rounds of the pool: targets of all its maps, then small batches of a transformed copy."""
    plain, copies, _ = frozen()
    torch.manual_seed(run.seed)
    method = run.build(replace(run, options={**run.options, "pool": len(plain)}))
    untrained, heads, waiting = copy.deepcopy(method), method.heads, []
    shuffle, optimizer = torch.Generator().manual_seed(run.seed), torch.optim.Adam(heads.parameters(), LR)

    def step(before: int) -> dict:
        if not waiting:
            heads.eval()
            with torch.no_grad():
                method.set_targets(heads.logits(plain).softmax(1), before)
            heads.train()
            waiting.extend(torch.randperm(len(plain), generator=shuffle).split(BATCH))
        rows = waiting.pop(0)
        maps = copies[before * BATCH // len(plain) % COPIES, rows]
        parts = method.tasks(maps, method.balanced[rows], method.sharpened[rows], method.labels[rows])
        optimizer.zero_grad()
        parts["loss"].backward()
        nn.utils.clip_grad_value_(heads.parameters(), 10.0)
        optimizer.step()
        return parts

    return Made(run, method, by_hand(run, step), shapes(), untrained)


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    (pool, _, test), method = frozen(), made.method.eval()
    p, found = method.heads.logits(test).softmax(1), method.heads.logits(pool).argmax(1)
    sizes = torch.bincount(p.argmax(1), minlength=CLUSTERS) / len(p)
    attention = method.heads.attention(test)[:, 0]
    own = {"sure": float(p.max(1).values.mean()), "sizes": sizes.tolist(),
           "mean_map": attention.mean(0).flatten().tolist(), **pointing(attention, shapes().test.factors)}
    return [cluster_row("GATCluster", (found, p.argmax(1)), shapes(), CLUSTERS) | own,
            kmeans_row("k-means on the frozen features", (pool.mean((2, 3)), test.mean((2, 3))), shapes(), CLUSTERS)]


GRID = Grid("19_gatcluster", runs, rows, "Lesson 19: heads on frozen features; each task alone, and all but one.",
            show=("acc", "used", "sure", "share", "follows_column"), train=train_heads)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
