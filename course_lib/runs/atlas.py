"""The atlas of the learned networks: what lessons/grids/atlas.py has measured, beside what is known of each method.

    atlas = read_atlas().select(kinds=("learned",))
    atlas.debiased        # CKA of all pairs on the same 500 test images, (n, n)
    atlas.read("class")   # how well each network's class is read, (n,)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.evaluate.cka import cka_table, regress_out
from course_lib.files import CHECKOUT, atomic
from course_lib.methods import METHODS, method_class
from course_lib.papers import load_papers
from course_lib.runs.stored import runs_folder

KINDS = ("learned", "again", "untrained", "pixels", "cause")
MEASURES = {"linear CKA": "cka", "debiased CKA": "debiased", "debiased, lighting taken out": "unlit"}
# methods of papers that the reading list does not have: the family of the paper that they stand for in a lesson
BESIDE = {"scan": "clustering", "dino": "non-contrastive"}


@dataclass(frozen=True)
class Entry:
    """A representation of the same images.

    kind: "learned", "again" (another seed), "untrained", "pixels", or "cause", a known cause alone.
    family: of the reading list; section: the library's; lesson: such as 06_byol; "" where there is none.
    colour: whether it was trained with views of changed colours. knn and factors: as stored with the network.
    """

    name: str
    title: str
    kind: str
    method: str
    family: str
    section: str
    encoder: str
    seed: int
    colour: bool
    lesson: str
    knn: float
    factors: dict[str, float]


@dataclass
class Atlas:
    """Entries, and how alike they are: linear CKA, its debiased estimate, and that with lighting taken out, (n, n)."""

    entries: list[Entry]
    cka: Tensor
    debiased: Tensor
    unlit: Tensor

    def select(self, keep: Callable[[Entry], bool] = lambda entry: True, kinds: Sequence[str] = KINDS) -> Atlas:
        """The part of it that fits. ValueError for an unknown kind, or if nothing is left."""
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise ValueError(f"there is no kind {unknown[0]!r}; expected some of {', '.join(KINDS)}")
        places = torch.tensor([i for i, entry in enumerate(self.entries) if entry.kind in kinds and keep(entry)])
        if not len(places):
            raise ValueError("no representation of the atlas fits; ask for more")
        tables = (table[places][:, places] for table in (self.cka, self.debiased, self.unlit))
        return Atlas([self.entries[i] for i in places.tolist()], *tables)

    def table(self, measure: str) -> Tensor:
        """The similarities (n, n) by a name of MEASURES. ValueError for another."""
        if measure not in MEASURES:
            raise ValueError(f"there is no measure {measure!r}; expected {', '.join(MEASURES)}")
        return getattr(self, MEASURES[measure])

    def at(self, name: str) -> int:
        """The place of a representation. ValueError for a name that is not there."""
        names = [entry.name for entry in self.entries]
        if name not in names:
            raise ValueError(f"{name!r} is not in the atlas; there are: {', '.join(names)}")
        return names.index(name)

    def alike(self, first: str, second: str, measure: str = "debiased CKA") -> float:
        """The similarity of two representations, by name."""
        return float(self.table(measure)[self.at(first), self.at(second)])

    def nearest(self, name: str, count: int = 5, measure: str = "debiased CKA") -> list[tuple[str, float]]:
        """The names that are most alike to one, and how much, without itself."""
        row = self.table(measure)[self.at(name)].clone()
        row[self.at(name)] = -torch.inf
        values, places = row.topk(min(count, len(row) - 1))
        return [(self.entries[i].name, v) for i, v in zip(places.tolist(), values.tolist())]

    def read(self, cause: str) -> Tensor:
        """How well a cause is read linearly from each, (n,); NaN where that was not measured."""
        return torch.tensor([entry.factors.get(cause, float("nan")) for entry in self.entries])

    def groups(self, by: Callable[[Entry], object]) -> Tensor:
        """A number for each group that `by` makes, int64 (n,), in the order in which they first occur."""
        values = [by(entry) for entry in self.entries]
        known = list(dict.fromkeys(values))
        return torch.tensor([known.index(value) for value in values])


# ways to part the entries into groups; two papers are on no reading list, and so have no family
GROUPINGS: dict[str, Callable[[Entry], object]] = {
    "family (reading list)": lambda entry: entry.family,
    "section (library)": lambda entry: entry.section,
    "encoder": lambda entry: entry.encoder,
    "views of changed colours": lambda entry: entry.colour,
    "initial letter": lambda entry: entry.title[0],
}


def lesson_of(method: str) -> str:
    """The name of the lesson of a method's week, "" without one."""
    found = sorted((CHECKOUT / "lessons").glob(f"{method_class(method).week:02d}_*.ipynb"))
    return found[0].stem if found else ""


def stored_atlas() -> Path:
    return runs_folder() / "A2_atlas" / "shapes.npz"


def read_atlas(path: str | Path | None = None) -> Atlas:
    """The stored atlas. FileNotFoundError with the command that makes it."""
    path = Path(path) if path is not None else stored_atlas()
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is missing: restore it from the repository, or make it by "
                                "`python lessons/grids/atlas.py`")
    families = {paper.method: paper.family for paper in load_papers() if paper.method} | BESIDE
    with np.load(path, allow_pickle=False) as file:
        rows = json.loads(str(file["rows"]))
        tables = [torch.from_numpy(file[name].astype(np.float32)) for name in MEASURES.values()]
    entries = []
    for row in rows:
        method = row["method"]
        title = method_class(method).title + ("" if row["kind"] == "learned" else ", seed 1") if method else row["name"]
        entries.append(Entry(
            row["name"], title, row["kind"], method, families.get(method, ""),
            METHODS[method].partition(".")[0] if method else "", row["encoder"], row["seed"], bool(row["colour"]),
            lesson_of(method) if method else "", row["knn"], row["factors"]))
    return Atlas(entries, *tables)


def write_atlas(rows: Sequence[dict], features: Sequence[Tensor], lighting: Tensor) -> None:
    """Store what lessons/grids/atlas.py has measured: a row for each representation, and how alike they are.

    features: (N, D_i) of the same images, one for each row. lighting (N,): a cubic function of it is taken out of all
    but the row "lighting" for the third table, where that one is NaN.
    """
    cka, debiased = cka_table(list(features))
    powers = torch.stack([lighting.double() ** power for power in (1, 2, 3)], dim=1)
    seen = [i for i, row in enumerate(rows) if row["name"] != "lighting"]
    unlit = torch.full_like(debiased, float("nan"))
    unlit[np.ix_(seen, seen)] = cka_table([regress_out(features[i].double(), powers) for i in seen])[1]
    file = stored_atlas()
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file) as out:
        np.savez_compressed(out, cka=cka.numpy(), debiased=debiased.numpy(), unlit=unlit.numpy(), rows=json.dumps(rows))
