"""Week 23's table: what a network's representation is good for, beside raw pixels and the same network untrained.

knn, linear       kNN and a linear probe of the course, on test
few_1, few_5      5-way episodes with 1 and 5 shots of test images, +- 95 % over the episodes
auroc, fpr95      SSD's score: test images against outliers, statistics of training images; auroc_euclidean: the control
robust            a linear head on the frozen representation, attacked by PGD: see `ATTACK`
fine_tuned        with few labels, where it is handed in
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import to_float
from course_lib.data.images import ImageSet, Splits, draw
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.fewshot import few_shot
from course_lib.evaluate.measures import check_labels
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.outliers import outlier_scores
from course_lib.evaluate.probes import linear_head, linear_probe
from course_lib.evaluate.robustness import InPixels, pgd_accuracy
from course_lib.evaluate.transfer import class_share
from course_lib.models.layers import normalize
from course_lib.text import text_table

SIDE = 16  # raw pixels are averaged down to so many along a side
ATTACK: dict[str, Any] = {"epsilon": 1 / 255, "step": 0.25 / 255, "steps": (0, 10), "restarts": 1}
ATTACKED, TRAINED, SHOTS, WAYS, QUERIES = 200, 5000, (1, 5), 5, 15


class Pixels(nn.Module):
    """Raw pixels as a representation: normalised images (B, 3, H, W), averaged down -> (B, 3 * SIDE * SIDE)."""

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, SIDE).flatten(1)


FineTune = Callable[[nn.Module, Splits], float]


def transfer_row(encoder: nn.Module, splits: Splits, outliers: ImageSet | None, *, seed: int = 0,
                 fine_tune: FineTune | None = None, device: str = "auto") -> dict[str, Any]:
    """The numbers of one encoder, a method or a backbone, as fractions; see the head of this file.

    At most TRAINED training images, ATTACKED attacked ones; few-shot numbers are left out where too few classes have
    images enough. fine_tune(encoder, splits) -> accuracy. ValueError for images without labels.
    """
    parts = (splits.train.select(draw(len(splits.train), TRAINED, seed)), splits.validation, splits.test)
    pairs = [(embed(encoder, part, device=device), check_labels(part.labels, len(part))) for part in parts]
    (bank, known), held, (queries, labels) = pairs
    row: dict[str, Any] = {"knn": knn_accuracy(bank, known, queries, labels, k=min(20, len(bank))),
                           "linear": linear_probe(pairs[0], held, pairs[2], seed=seed).accuracy}
    for shots in SHOTS:
        if int((labels.bincount() >= shots + QUERIES).sum()) >= WAYS:
            found = few_shot(queries, labels, ways=WAYS, shots=shots, queries=QUERIES, seed=seed, bank=bank)
            row |= {f"few_{shots}": found.accuracy, f"few_{shots}_interval": found.interval}
    if outliers is not None:
        row |= outlier_scores(bank, queries, embed(encoder, outliers, device=device))
    some = splits.test.select(draw(len(splits.test), ATTACKED, seed))
    classifier = InPixels(encoder, linear_head(pairs[0], held))
    accuracies = pgd_accuracy(classifier, to_float(some.images), check_labels(some.labels, len(some)), seed=seed,
                              **ATTACK)
    row |= {"attacked": accuracies[0], "robust": accuracies[max(accuracies)]}
    return row | ({"fine_tuned": fine_tune(encoder, splits)} if fine_tune is not None else {})


def transfer_rows(model: nn.Module, splits: Splits, outliers: ImageSet | None = None, *, name: str = "method",
                  seed: int = 0, fine_tune: FineTune | None = None, device: str = "auto",
                  watch: Callable[[list[dict]], None] | None = None) -> list[dict[str, Any]]:
    """A row for the network, for the same untrained, and for raw pixels, which are not fine-tuned.

    watch: called with the rows so far after each of them.
    """
    fresh = reinitialise(model, seed)
    rows: list[dict[str, Any]] = []
    for title, encoder, tuned in ((name, model, fine_tune), ("random encoder", fresh, fine_tune),
                                  (f"raw pixels ({SIDE} x {SIDE})", Pixels(), None)):
        kind = "method" if encoder is model else "control"
        rows.append({"name": title, "kind": kind, **transfer_row(encoder, splits, outliers, seed=seed, fine_tune=tuned,
                                                                 device=device)})
        if watch is not None:
            watch(rows)
    return rows


COLUMNS = {"knn": "kNN", "linear": "linear probe", "few_1": "5-way 1-shot", "few_5": "5-way 5-shot",
           "fine_tuned": "fine-tuned", "auroc": "AUROC", "auroc_euclidean": "(Euclid)", "fpr95": "FPR95",
           "attacked": "not attacked", "robust": "PGD"}


def transfer_table(rows: list[dict[str, Any]], markdown: bool = False) -> str:
    """The rows of `transfer_rows` as a table: accuracies and FPR95 in percent, what is missing as "-"."""
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]

    def show(row: dict[str, Any], key: str) -> str:
        if (value := row.get(key)) is None:
            return "-"
        if key.startswith("auroc"):
            return f"{value:.3f}"
        interval = row.get(f"{key}_interval")
        return f"{100 * value:.1f}" + (f" ± {100 * interval:.1f}" if interval is not None else "") + " %"

    lines = [["", *(COLUMNS[key] for key in keys)]]
    lines += [[row["name"], *(show(row, key) for key in keys)] for row in rows]
    return text_table(lines, "<>", markdown)


# ------------------------------------------------------------------------------------------------ many networks
Seen = tuple[tuple[Tensor, Tensor], ...]  # features and labels of the training, validation and test images
PENALTIES = (1e-3, 1e-2, 1e-1)


def seen(encoder: nn.Module, splits: Splits) -> Seen:
    """What an encoder makes of the three parts, (N, D), beside their labels."""
    return tuple((embed(encoder, part), check_labels(part.labels, len(part)))
                 for part in (splits.train, splits.validation, splits.test))


def seen_row(name: str, parts: Seen, labels: int, episodes: int, number: int, first: bool = True) -> dict[str, float]:
    """Draw `number` of one target: a linear probe on so many labels, 5-way episodes; with the first draw kNN, too.

    "NAME share": of the variance of unit features, as kNN sees them, how much lies between the classes.
    """
    (bank, known), held, (queries, told) = parts
    some = draw(len(bank), labels, number)
    row = {"linear": linear_probe((bank[some], known[some]), held, (queries, told), settings=PENALTIES,
                                  max_iter=60).accuracy}
    if first:
        row |= {"knn": knn_accuracy(bank, known, queries, told),
                "share": class_share(normalize(bank - bank.mean(0)), known)}
    for shots in SHOTS:
        row[f"few_{shots}"] = few_shot(queries, told, ways=WAYS, shots=shots, queries=QUERIES, seed=number, bank=bank,
                                       episodes=episodes).accuracy
    return {f"{name} {key}": value for key, value in row.items()}


def attacked(encoder: nn.Module, parts: Seen, images: ImageSet, most: int, number: int,
             attack: dict[str, Any]) -> dict[str, float]:
    """Draw `number` of the attacked images: "pgd STEPS" -> accuracy of a linear head on the frozen encoder."""
    (bank, known), held, _ = parts
    head = linear_head((bank[:2000], known[:2000]), held, settings=PENALTIES, max_iter=60)
    some = images.select(draw(len(images), most, 50 + number))
    right = pgd_accuracy(InPixels(encoder, head), to_float(some.images), check_labels(some.labels, len(some)),
                         seed=number, **attack)
    return {f"pgd {steps}": value for steps, value in right.items()}


def outliers_of(known: Mapping[str, Seen], source: str, others: tuple[str, ...]) -> dict[str, float]:
    """SSD's numbers of each other kind of images, those that are there: statistics of the source's training images."""
    (bank, _), _, (queries, _) = known[source]
    found = {name: outlier_scores(bank, queries, known[name][2][0]) for name in others if name in known}
    return {f"{name} {key}": value for name, row in found.items() for key, value in row.items()}
