"""Make the stored runs of lesson 09: Barlow Twins on generated shapes; what changes: lambda, width or batch alone.

    python lessons/grids/week09.py   # what is missing in lessons/runs/09_barlow_twins (about 12 minutes on one core)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, measure, shapes, train
from torch import Tensor

from course_lib.augment import SHAPES_VIEWS, standardize, two_views
from course_lib.evaluate import effective_rank, embed_projected, factor_probe
from course_lib.methods.contrastive.barlow_twins import BarlowTwins, cross_correlation, off_diagonal
from course_lib.models.backbones import ConvNet
from course_lib.train.history import History

STEPS, BATCH, LR, BASE = 600, 64, 1e-3, {"width": 128, "lambd": 0.05, "within": False}
BATCHES = {"batch-16": 16}  # the others: BATCH
CHANGES = {"lambda-1": {"lambd": 1.0}, "base": {}, "lambda-1-within": {"lambd": 1.0, "within": True},
           "lambda-0": {"lambd": 0.0}, "lambda-0.0051": {"lambd": 0.0051}}  # with three seeds
ONCE = {"width-512": {"width": 512}, "width-32": {"width": 32}, "lambda-0.2": {"lambd": 0.2}, "batch-16": {}}
ALBUM, SHOWN = (10, 20, 50, 100, 200, 300, 400, 600), 12  # steps of the album, dimensions in it


class Within(BarlowTwins):
    """Barlow Twins whose off-diagonal part is that of the correlations within each view, their mean."""

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Tensor]:
        a, b = (self.projector(self.backbone(standardize(view))) for view in views)
        on = (cross_correlation(a, b).diagonal() - 1).square().sum()
        off = sum(off_diagonal(cross_correlation(z, z)).square().sum() for z in (a, b)) / 2
        return {"loss": on + self.lambd * off, "on_diagonal": on, "off_diagonal": off, "embedding": a.detach()}


def runs() -> list[Run]:
    table = [(name, change, seed) for seed in (0, 1, 2) for name, change in CHANGES.items()]
    table += [(name, change, 0) for name, change in ONCE.items()]
    return [line(name, {**BASE, **change}, seed) for name, change, seed in table]


def line(change: str, options: dict, seed: int) -> Run:
    kind, width, lambd = (Within if options["within"] else BarlowTwins), options["width"], options["lambd"]
    return Run(f"{change}-s{seed}", seed, "barlow-twins", {"augment": SHAPES_VIEWS, "width": width, "lambd": lambd},
               fit={"steps": STEPS, "batch_size": BATCHES.get(change, BATCH), "lr": LR, "device": "cpu", "threads": 1},
               says={**options, "change": change, "n": SHAPES}, build=lambda run: kind(ConvNet(), **run.options))


@torch.no_grad()
def correlations(method: BarlowTwins) -> tuple:
    """C across two fixed views of 500 test images and within the first; its embedding; both views."""
    views = two_views(shapes().test.images[:500], SHAPES_VIEWS, torch.Generator().manual_seed(9))
    a, b = (embed_projected(method, view) for view in views)
    return cross_correlation(a, b), cross_correlation(a, a), a, views


def train_watched(run: Run, out=None) -> Made:
    """Build and fit; of seed 0, with an album of what the first dimensions correlate by, across views and within."""
    pages = []

    def watch(method: BarlowTwins, history: History | None) -> None:
        if history and history.steps in ALBUM and run.seed == 0:
            pages.append([history.steps, *((100 * c[:SHOWN, :SHOWN]).round().int().flatten().tolist()
                                           for c in correlations(method)[:2])])

    made = train(run, watch=watch)
    made.method.pages = pages
    return made


def explained(y: Tensor, x: Tensor) -> float:
    x = x - x.mean(0)  # R2 of a linear fit of y (N,), whose mean is 0, from x (N, D)
    return float(1 - (y - x @ torch.linalg.lstsq(x, y[:, None]).solution[:, 0]).var() / y.var())


@torch.no_grad()
def embedding_row(method: BarlowTwins) -> dict:
    """Of the embedding of views: ranks, correlations, what its main direction reads, which causes can be read."""
    c, within, a, views = correlations(method)
    standard = (a - a.mean(0)) / (a.var(0, correction=0) + 1e-5).sqrt()
    main = torch.linalg.svd(standard, full_matrices=False)[0][:, 0]
    own, other = (torch.cat([view.mean((2, 3)), view.std((2, 3))], 1).float() for view in views)  # 6 numbers each
    return {"embedding_rank": effective_rank(standard), "diagonal": float(c.diagonal().mean()), **{
                name: float(off_diagonal(m).square().mean().sqrt()) for name, m in (("across", c), ("within", within))},
            "own_colours": explained(main, own), "other_colours": explained(main, other),
            "pages": method.pages, "embedding_factors": factor_probe(*(part for images in (
                shapes().train.head(3000), shapes().test) for part in (embed_projected(method, images), images)))}


def rows(made: Made) -> list[dict]:
    return [measure("Barlow Twins", "method", made.method.eval()) | embedding_row(made.method), *controls()]


GRID = Grid("09_barlow_twins", runs, rows, "Lesson 09: lambda or the width changed alone.", train=train_watched,
            show=("knn", "embedding_rank", "diagonal", "across", "within", "own_colours", "other_colours"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
