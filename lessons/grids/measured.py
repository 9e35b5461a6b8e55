"""What the grids of lesson 23 share: the networks of lessons/networks as they are, and controls. Nothing is trained."""

from __future__ import annotations

from functools import lru_cache

from grid import Made, Run, few, shapes
from torch import nn

from course_lib.data.images import Splits, draw
from course_lib.evaluate.features import reinitialise
from course_lib.evaluate.suite import Pixels
from course_lib.runs.networks import learned
from course_lib.train.history import History

FAMILIES = {
    "negatives": "simclr moco moco-v2 npid pirl roco imco amdim cpc dim yadim",
    "no negatives": "byol simsiam vicreg barlow-twins", "clusters": "swav mice gatcluster scan ruc",
    "dense": "pixpro vader", "masks": "spark mae simmim beit dmae", "masks and a teacher": "dino ibot",
    "labels": "supcon", "control": "random-conv random-vit pixels"}
VITS = {*"mae simmim beit dmae dino ibot random-vit".split()}
FROM = {"random-conv": "simclr", "random-vit": "mae"}  # of what network they are the untrained weights
SIZES = {"train": 2000, "validation": 300, "test": 1000}  # of a target; the source has more
DRAWS, LABELS, EPISODES = (0, 1, 2), 500, 200  # LABELS: of a linear probe


class Line(Run):
    """A network that is there already; what is stored beside its name is how it is measured."""

    backbone = property(lambda self: "vit-tiny" if self.method in VITS else "convnet")

    def settings(self) -> dict:
        return self.says


def find(run: Run) -> nn.Module:
    """A network as it is; no views, as nothing is trained."""
    found = nn.Module()
    network = Pixels() if run.method == "pixels" else learned(FROM.get(run.method, run.method)).method.evaluated
    found.augment, found.network = None, (reinitialise(network, 0) if run.method in FROM else network).eval()
    return found


def lines(says: dict) -> list[Run]:
    """All networks, in the order of the families; says: what is stored of how they are measured."""
    return [Line(name, 0, name, {}, {"steps": 0}, {"family": family, **says}, build=find)
            for family, names in FAMILIES.items() for name in names.split()]


@lru_cache
def source() -> Splits:
    """What most of the networks learned on."""
    calm = shapes(4000)
    return Splits(calm.train, calm.validation.head(500), calm.test)


def some(splits: Splits) -> Splits:
    """SIZES images of each part."""
    parts = ((getattr(splits, name), few(n, 300)) for name, n in SIZES.items())
    return Splits(*(part.select(draw(len(part), n, 0)) for part, n in parts))


def as_it_is(run: Run, splits: Splits) -> Made:
    return Made(run, run.build(run), History(device="cpu", threads=1), splits)
