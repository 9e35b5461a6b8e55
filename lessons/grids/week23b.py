"""Make the stored runs of lesson 23's Further on SSKD: a small student of the learned SupCon network, by its losses.

    python lessons/grids/week23b.py   # what is missing in lessons/runs/23_further (20 seconds of one core each)

Lines differ in which of the four losses have a weight, and in nothing else: all see the same images in all four turns.
The teacher's head is trained on the labelled images that the student sees; its projection learns SSKD's pretext,
without labels, on its frozen features.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import einops
import torch
from grid import CROPS, Grid, Made, Run, few, shapes, train
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.data.images import Splits
from course_lib.evaluate.features import accuracy, embed
from course_lib.evaluate.probes import linear_head
from course_lib.methods.contrastive.sskd import TURNS, WEIGHTS, pretext_loss, sskd_loss
from course_lib.methods.pretext.rotation import four_turns
from course_lib.models.backbones import build_backbone
from course_lib.runs.networks import learned
from course_lib.train.tuning import Classifier

IMAGES, LABELLED, WIDTHS = 4000, 500, (12, 24, 48)
FIT = {"steps": 500, "batch_size": 32, "lr": 3e-3, "device": "cpu", "threads": 1}
LINES = {"labels": ("labels",), "distilled": ("labels", "upright"), "turned": ("labels", "upright", "turned"),
         "sskd": tuple(WEIGHTS)}


def turns(images: Tensor) -> Tensor:
    """(B, 3, S, S) -> (4B, 3, S, S), the four turns of an image beside each other."""
    return einops.rearrange(four_turns(images)[0], "(turn i) ... -> (i turn) ...", turn=TURNS)


@lru_cache
def teacher() -> tuple[nn.Module, nn.Module, nn.Module]:
    """The network, its linear head and its projection; none of them learns any more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, splits = learned("supcon").method.evaluated.eval(), shapes(IMAGES)
        known, held = ((embed(network, part), part.labels) for part in (splits.train.head(LABELLED), splits.validation))
        head, projection = linear_head(known, held), nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64))
        optimizer = torch.optim.Adam(projection.parameters(), 1e-3)
        features = torch.cat([embed(network, turns(part)) for part in splits.train.images.split(64)])
        for _ in range(few(10, 1)):
            for part in features.split(64 * TURNS):
                optimizer.zero_grad()
                pretext_loss(projection(part)).backward()
                optimizer.step()
    return network.requires_grad_(False), head.requires_grad_(False), projection.requires_grad_(False)


class Student(Classifier):
    """A classifier that also learns from the teacher; weights: of SSKD's four losses."""

    def __init__(self, weights: dict[str, float]):
        super().__init__(build_backbone("convnet", widths=WIDTHS), nn.Linear(WIDTHS[-1], 8), augment=CROPS)
        self.projection = nn.Sequential(nn.Linear(WIDTHS[-1], 64), nn.ReLU(), nn.Linear(64, 64))
        self.weights = weights

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Tensor]:
        images, (network, head, projection) = standardize(turns(views[0])), teacher()
        told, z = network(images), self.backbone(images)
        return sskd_loss(self.head(z), self.projection(z), head(told), projection(told), views[1], self.weights)


def build(run: Run) -> nn.Module:
    return Student({name: weight * (name in LINES[run.says["line"]]) for name, weight in WEIGHTS.items()})


def runs() -> list[Run]:
    return [Run(f"sskd-{line}-s{seed}", seed, "sskd", {}, FIT,
                {"line": line, "n": IMAGES, "labelled": LABELLED, "widths": WIDTHS, "teacher": "supcon"}, build=build)
            for seed in (0, 1, 2) for line in LINES]


def rows(made: Made) -> list[dict]:
    (network, head, _), method = teacher(), made.method.eval()
    both = (("student", "method", method.backbone, method.head), ("teacher", "control", network, head))
    return [{"name": name, "kind": kind, "accuracy": accuracy(nn.Sequential(*parts), shapes(IMAGES).test, "cpu")}
            for name, kind, *parts in both]


def train_student(run: Run, out: Path | None = None) -> Made:
    splits = shapes(IMAGES)
    return train(run, Splits(splits.train.head(LABELLED), splits.validation, splits.test), out)


GRID = Grid("23_further", runs, rows, "Lesson 23, Further: SSKD's losses.", show=("accuracy",), train=train_student)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
