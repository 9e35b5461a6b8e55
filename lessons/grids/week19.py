"""Make the stored runs of lesson 19: GATCluster's four tasks, each alone, and all but one.

    python lessons/grids/week19.py   # what is missing in lessons/runs/19_gatcluster (a few seconds of one core each)

Only the heads are trained, on the frozen maps of lesson 04's learned SimCLR, which are computed once. A task is left
out by its weight 0; maps, steps, batches and seeds are equal.
"""

from __future__ import annotations

import copy
import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, few
from torch import Tensor, nn

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import TURNED_VIEWS
from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.data.shapes import object_masks
from course_lib.evaluate.attention import object_share
from course_lib.evaluate.clusters import kmeans_clusters, matched_scores
from course_lib.methods.clustering.gatcluster import GATCluster
from course_lib.runs.networks import learned
from course_lib.train.history import History, record

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
def shapes() -> Splits:
    return load("shapes", n=SHAPES)


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
    method = run.build(run)
    assert isinstance(method, GATCluster)
    untrained, heads, shuffle = copy.deepcopy(method), method.heads, torch.Generator().manual_seed(run.seed)
    steps, optimizer = few(STEPS, 3), torch.optim.Adam(heads.parameters(), LR)
    history = History(total_steps=steps, batch_size=BATCH, device="cpu", precision="float32", threads=1)
    began = time.process_time()
    while history.steps < steps:
        heads.eval()
        with torch.no_grad():
            p = heads.logits(plain).softmax(1)
        method.set_targets(p, history.steps)
        heads.train()
        for rows in torch.randperm(len(plain), generator=shuffle).split(BATCH)[: steps - history.steps]:
            maps = copies[history.steps * BATCH // len(plain) % COPIES, rows]
            parts = method.tasks(maps, method.balanced[rows], method.sharpened[rows], method.labels[rows])
            optimizer.zero_grad()
            parts["loss"].backward()
            nn.utils.clip_grad_value_(heads.parameters(), 10.0)
            optimizer.step()
            history.steps += 1
            if history.steps % 10 == 1 or history.steps == steps:
                curves = {key: value for key, value in parts.items() if isinstance(value, Tensor) and not value.ndim}
                record(history, [(history.steps, curves)])
    history.seconds = time.process_time() - began
    return Made(run, method.eval(), history, shapes(), untrained)


def pointing(maps: Tensor, factors: dict[str, Tensor]) -> dict:
    """Of attention maps (N, h, w): the share on the object, of their own, other images' and the mean map; whether the
    place follows the object."""
    masks, axis = object_masks(factors), torch.linspace(0, 1, maps.shape[-1])
    column = (maps.sum(1) * axis).sum(1) / maps.sum((1, 2))
    share = {name: float(object_share(m, masks).mean()) for name, m in {
        "share": maps, "share_others": maps.roll(1, 0), "share_mean": maps.mean(0).expand_as(maps)}.items()}
    follows = torch.corrcoef(torch.stack([column, factors["pos_x"]]))[0, 1].nan_to_num(0.0)
    return share | {"follows_column": float(follows), "mean_map": maps.mean(0).flatten().tolist()}


@lru_cache
def control() -> dict:
    """k-means on the same frozen maps, averaged over their places."""
    (pool, _, test), labels = frozen(), shapes()
    train, found = kmeans_clusters(pool.mean((2, 3)), test.mean((2, 3)), CLUSTERS)
    return {"name": "k-means on the frozen features", "kind": "control"} | matched_scores(
        train, labels.train.labels[:len(pool)], found, labels.test.labels, CLUSTERS)


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    (pool, _, test), splits, method = frozen(), shapes(), made.method
    assert isinstance(method, GATCluster)
    p, found = method.heads.logits(test).softmax(1), method.heads.logits(pool).argmax(1)
    sizes = torch.bincount(p.argmax(1), minlength=CLUSTERS) / len(p)
    scores = matched_scores(found, splits.train.labels[:len(pool)], p.argmax(1), splits.test.labels, CLUSTERS)
    return [{"name": "GATCluster", "kind": "method"} | scores | {"sure": float(p.max(1).values.mean()),
            "sizes": sizes.tolist()} | pointing(method.heads.attention(test)[:, 0], splits.test.factors), control()]


GRID = Grid("19_gatcluster", runs, rows, "Lesson 19: heads on frozen features; each task alone, and all but one.",
            show=("acc", "used", "sure", "share", "follows_column"), train=train_heads)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
