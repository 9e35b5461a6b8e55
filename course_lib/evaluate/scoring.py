"""One row of measures for a network, with raw pixels and a random encoder beside it; only `table` prints percent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from course_lib.data.images import ImageSet, Splits, draw
from course_lib.device import pick_device
from course_lib.evaluate.features import accuracy, embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import check_labels, cluster_scores, effective_rank, feature_std, rankme
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import factor_probe, linear_probe
from course_lib.text import text_table
from course_lib.threads import well_threaded

LARGEST = {"train": 100_000, "validation": 20_000, "test": 50_000}  # of larger sets this many images, drawn at random
CLUSTERS = ("cluster_acc", "cluster_nmi", "cluster_ari", "cluster_ami")


def unmeasurable(splits: Splits, clusters: bool = False) -> dict[str, str]:
    """Column of `score` -> why it cannot be measured on these images: known from the splits, before any training."""
    train, validation, test = splits.train, splits.validation, splits.test
    why = next((why for why, holds in (
        ("test has no images", not len(test)),
        ("train has no labels", train.labels is None),
        ("test has no labels", test.labels is None),
        ("train has one class only", train.labels is not None and len(train.labels.unique()) < 2),
        ("test and train have no class in common", train.labels is not None and test.labels is not None
         and not torch.isin(test.labels, train.labels).any())) if holds), "")
    picked = ("validation has no images" if not len(validation) else
              "validation has no labels" if validation.labels is None else "")
    reasons = {"knn": why, "linear": why or picked and f"{picked} to pick its penalty on"}
    if clusters:
        labels = test.labels if len(test) else None
        classes = 0 if labels is None else len(labels.unique())
        few = f"test has {len(test)} images of {classes} classes: with fewer than two a class, any clustering fits"
        unlabelled = "test has no images" if not len(test) else "test has no labels" if labels is None else ""
        one = "test has one class only" if classes < 2 else ""
        reasons |= dict.fromkeys(CLUSTERS, unlabelled or one or (few if len(test) < 2 * classes else ""))
    if not len(test):
        reasons["feature_std"] = "test has no images"
    return {column: reason for column, reason in reasons.items() if reason}


def missing_lines(reasons: dict[str, str]) -> list[str]:
    """The reasons of `unmeasurable` as sentences, columns of one reason together."""
    return [f"Not measured: {', '.join(COLUMNS[c] for c in reasons if reasons[c] == why)} ({why})."
            for why in dict.fromkeys(reasons.values())]


def score(model: nn.Module | None, splits: Splits, *, name: str = "method", controls: bool = True,
          linear: bool = True, clusters: bool = False, factors: bool = False, supervised: nn.Sequential | None = None,
          random_encoder: nn.Module | None = None, probe_limit: int | None = 5000, seed: int = 0,
          device: str | torch.device = "auto", progress: bool = False,
          watch: Callable[[list[dict]], None] | None = None) -> list[dict]:
    """One row (a dict) for the model and, with `controls`, rows "random encoder" and "raw pixels".

    name, kind ("method" or "control"), dim, bank (images in the kNN bank: all of train), queries (test
    images), knn, linear (with linear_train images, at most probe_limit), linear_setting, rankme and
    effective_rank (of at most 4096 training images; None where there are fewer images than twice the
    dimensions), feature_std (of test); on request cluster_acc, cluster_nmi, cluster_ari, cluster_ami (of test),
    factors (dict of `factor_probe`). What `unmeasurable` names is None, its reasons are `missing`.
    supervised: (backbone, linear head) trained with labels (`train.supervised_control`), which gets a row of
    its own, "supervised".

    The random encoder is `random_encoder` or, if None, `reinitialise(model, seed)`: the same network, never
    trained, in evaluation mode with batch norm's untouched statistics (mean 0, variance 1).

    progress: a bar for each part. watch: called with the rows so far after each of them. Of splits larger than LARGEST
    so many images are drawn; images of more than 32 pixels are averaged down to that for the row "raw pixels".
    """
    if not len(splits.train):
        raise ValueError("train has no images, so there is nothing to measure: give images for train.")
    fresh = (random_encoder or reinitialise(model, seed)) if model is not None and controls else None
    encoders: list[tuple[str, str, nn.Module | None]] = [] if model is None else [(name, "method", model)]
    if controls:
        encoders += [("random encoder", "control", fresh)] if fresh is not None else []
        encoders += [("raw pixels", "control", None)]
    if supervised is not None:
        encoders.append(("supervised", "control", supervised[0]))
    chosen = {split: draw(len(getattr(splits, split)), most, seed) for split, most in LARGEST.items()}
    known = Splits(*(_without_images(getattr(splits, split), which) for split, which in chosen.items()))
    rows: list[dict] = []
    for title, kind, encoder in encoders:
        parts = {}
        for split, which in chosen.items():
            part, bar = getattr(splits, split), f"{title}: {split}" if progress else ""
            if len(part) and (linear or split != "validation"):
                parts[split] = (raw_pixels(part, which, bar) if encoder is None else
                                embed(encoder, part, device=device, which=which, bar=bar))
        row: dict[str, Any] = {"name": title, "kind": kind}
        if title == "supervised" and supervised is not None:
            can = len(splits.test) and splits.test.labels is not None
            row["fine_tuned"] = accuracy(supervised, splits.test, device) if can else None
        with tqdm(desc=f"{title}: kNN, probes", total=1, leave=False, disable=not progress):
            row |= _measure(parts, known, linear, clusters, factors, probe_limit, seed, device)
        rows.append(row)
        if watch is not None:
            watch(rows)
    return rows


def _without_images(part: ImageSet, which: Tensor) -> ImageSet:
    """Labels and causes of these images, and nothing of their pixels, which may lie on disk."""
    none = torch.empty(len(which), 3, 0, 0, dtype=torch.uint8)
    return ImageSet(none, None if part.labels is None else part.labels[which], part.classes,
                    {name: values[which] for name, values in part.factors.items()}, dict(part.kinds), part.name,
                    part.split)


@well_threaded()
def _measure(parts: dict[str, Tensor], splits: Splits, linear: bool, clusters: bool, factors: bool,
             probe_limit: int | None, seed: int, device: str | torch.device) -> dict:
    bank, queries = parts["train"], parts.get("test", parts["train"][:0])
    missing, (bank_labels, held_out, labels) = unmeasurable(splits, clusters), (
        part.labels for part in (splits.train, splits.validation, splits.test))
    row = dict.fromkeys(("knn", "linear", "linear_setting", "linear_train", "rankme", "effective_rank",
                         *(CLUSTERS if clusters else ())))
    row |= {"dim": bank.shape[1], "bank": len(bank), "queries": len(queries),
            "feature_std": feature_std(queries) if len(queries) else None}
    if "knn" not in missing:
        where = pick_device(str(device))
        where = where if where.type == "cuda" else "cpu"  # older MPS finds at most 16 neighbours
        row["knn"] = knn_accuracy(bank.to(where), check_labels(bank_labels, len(bank)), queries,
                                  check_labels(labels, len(queries)), k=min(20, len(bank)))
    if linear and "linear" not in missing:
        assert bank_labels is not None and held_out is not None and labels is not None  # else it would be missing
        probe = linear_probe((bank, bank_labels), (parts["validation"], held_out), (queries, labels),
                             limit=probe_limit, seed=seed)
        row |= {"linear": probe.accuracy, "linear_setting": probe.setting, "linear_train": probe.train_size}
    if clusters and CLUSTERS[0] not in missing:
        found = cluster_scores(queries, check_labels(labels, len(queries)), seed)
        row |= {f"cluster_{key}": value for key, value in found.items()}
    sample = bank[torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:4096]]
    if len(sample) >= 2 * sample.shape[1]:  # a rank cannot be larger than the number of images
        row |= {"rankme": rankme(sample), "effective_rank": effective_rank(sample)}
    if missing := {column: reason for column, reason in missing.items() if linear or column != "linear"}:
        row["missing"] = missing
    if factors and splits.train.factors and len(queries):
        row["factors"] = factor_probe(bank, splits.train, queries, splits.test, limit=probe_limit, seed=seed)
    return row


COLUMNS = {"knn": "kNN", "linear": "linear probe", "fine_tuned": "fine-tuned", "cluster_acc": "cluster ACC",
           "cluster_nmi": "NMI", "cluster_ari": "ARI", "cluster_ami": "AMI", "rankme": "RankMe",
           "effective_rank": "effective rank", "feature_std": "std"}

PERCENT = ("knn", "linear", "fine_tuned", "cluster_acc")


def table(rows: list[dict], markdown: bool = False) -> str:
    """The rows of `score` as aligned text or as a Markdown table; accuracies in percent, what is missing as "-".

    A row that has other scores alone, such as one of clusters, is left out. Below it a sentence for each reason in
    `missing`.
    """
    missing = {column: reason for row in rows for column, reason in row.get("missing", {}).items()}
    keys = [key for key in COLUMNS if key in missing or any(row.get(key) is not None for row in rows)]
    rows = [row for row in rows if row.get("missing") or any(row.get(key) is not None for key in keys)]

    def show(key: str, value: float | None) -> str:
        if value is None or math.isnan(value):
            return "-"
        if key in PERCENT:
            return f"{100 * value:.1f} %"
        return f"{value:.1f}" if "rank" in key else f"{value:.2f}"

    lines = [["", *(COLUMNS[key] for key in keys)]]
    lines += [[row["name"], *(show(key, row.get(key)) for key in keys)] for row in rows]
    below = ([""] if markdown and missing else []) + missing_lines(missing)
    return "\n".join([text_table(lines, "<>", markdown), *below])


def accuracy_error(accuracy: float, images: int) -> float:
    """The standard error of an accuracy on so many images: sqrt(p (1 - p) / n). That of a difference: times sqrt(2)."""
    return math.sqrt(accuracy * (1 - accuracy) / images)
