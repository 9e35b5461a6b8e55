"""One row of measures for a network, with raw pixels and a random encoder beside it; only `table` prints percent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib.data.images import Splits
from course_lib.device import pick_device
from course_lib.evaluate.features import accuracy, embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import check_labels, cluster_scores, effective_rank, feature_std, rankme
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import factor_probe, linear_probe
from course_lib.text import text_table
from course_lib.threads import well_threaded


def score(model: nn.Module | None, splits: Splits, *, name: str = "method", controls: bool = True,
          linear: bool = True, clusters: bool = False, factors: bool = False, supervised: nn.Sequential | None = None,
          random_encoder: nn.Module | None = None, probe_limit: int | None = 5000, seed: int = 0,
          device: str | torch.device = "auto") -> list[dict]:
    """One row (a dict) for the model and, with `controls`, rows "random encoder" and "raw pixels".

    name, kind ("method" or "control"), dim, bank (images in the kNN bank: all of train), queries (test
    images), knn, linear (with linear_train images, at most probe_limit), linear_setting, rankme and
    effective_rank (of at most 4096 training images; None where there are fewer images than twice the
    dimensions), feature_std (of test); on request cluster_acc, cluster_nmi and cluster_ari (of test),
    factors (dict of `factor_probe`). Without labels, what needs them is None. supervised: (backbone, linear
    head) trained with labels (`train.supervised_control`), which gets a row of its own, "supervised".

    The random encoder is `random_encoder` or, if None, `reinitialise(model, seed)`: the same network, never
    trained, in evaluation mode with batch norm's untouched statistics (mean 0, variance 1).
    """
    splits = Splits(splits.train, splits.validation, splits.test)  # without the unlabelled images
    if not len(splits.train) or not len(splits.test):
        raise ValueError(f"score needs images in train and test; there are {len(splits.train)} and "
                         f"{len(splits.test)}.")
    fresh = (random_encoder or reinitialise(model, seed)) if model is not None and controls else None
    encoders: list[tuple[str, str, nn.Module | None]] = [] if model is None else [(name, "method", model)]
    if controls:
        encoders += [("random encoder", "control", fresh)] if fresh is not None else []
        encoders += [("raw pixels", "control", None)]
    rows = []
    for title, kind, encoder in encoders:
        parts = {split: raw_pixels(part) if encoder is None else embed(encoder, part, device=device)
                 for split, part in vars(splits).items()
                 if part is not None and len(part) and (linear or split != "validation")}
        rows.append({"name": title, "kind": kind,
                     **_measure(parts, splits, linear, clusters, factors, probe_limit, seed, device)})
    if supervised is not None:
        features = {split: embed(supervised[0], part, device=device)
                    for split, part in vars(splits).items() if part is not None}
        rows.append({"name": "supervised", "kind": "control", "fine_tuned": accuracy(supervised, splits.test, device),
                     **_measure(features, splits, linear, clusters, factors, probe_limit, seed, device)})
    return rows


@well_threaded()
def _measure(parts: dict[str, Tensor], splits: Splits, linear: bool, clusters: bool, factors: bool,
             probe_limit: int | None, seed: int, device: str | torch.device) -> dict:
    bank, queries = parts["train"], parts["test"]
    bank_labels, labels = splits.train.labels, splits.test.labels
    row = dict.fromkeys(("knn", "linear", "linear_setting", "linear_train", "rankme", "effective_rank"))
    row |= {"dim": bank.shape[1], "bank": len(bank), "queries": len(queries), "feature_std": feature_std(queries)}
    if bank_labels is not None and labels is not None:
        where = pick_device(str(device))
        where = where if where.type == "cuda" else "cpu"  # older MPS finds at most 16 neighbours
        row["knn"] = knn_accuracy(bank.to(where), bank_labels, queries, labels, k=min(20, len(bank)))
        if linear and "validation" in parts:
            held_out = check_labels(splits.validation.labels, len(splits.validation), "validation labels")
            probe = linear_probe((bank, bank_labels), (parts["validation"], held_out), (queries, labels),
                                 limit=probe_limit, seed=seed)
            row |= {"linear": probe.accuracy, "linear_setting": probe.setting, "linear_train": probe.train_size}
        if clusters:
            row |= {f"cluster_{key}": value for key, value in cluster_scores(queries, labels, seed).items()}
    sample = bank[torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:4096]]
    if len(sample) >= 2 * sample.shape[1]:  # a rank cannot be larger than the number of images
        row |= {"rankme": rankme(sample), "effective_rank": effective_rank(sample)}
    if factors and splits.train.factors:
        row["factors"] = factor_probe(bank, splits.train, queries, splits.test, limit=probe_limit, seed=seed)
    return row


COLUMNS = {"knn": "kNN", "linear": "linear probe", "fine_tuned": "fine-tuned", "cluster_acc": "cluster ACC",
           "cluster_nmi": "NMI", "cluster_ari": "ARI", "rankme": "RankMe", "effective_rank": "effective rank",
           "feature_std": "std"}

PERCENT = ("knn", "linear", "fine_tuned", "cluster_acc")


def table(rows: list[dict], markdown: bool = False) -> str:
    """The rows of `score` as aligned text or as a Markdown table; accuracies in percent, what is missing as "-"."""
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]

    def show(key: str, value: float | None) -> str:
        if value is None or math.isnan(value):
            return "-"
        if key in PERCENT:
            return f"{100 * value:.1f} %"
        return f"{value:.1f}" if "rank" in key else f"{value:.2f}"

    lines = [["", *(COLUMNS[key] for key in keys)]]
    lines += [[row["name"], *(show(key, row.get(key)) for key in keys)] for row in rows]
    return text_table(lines, "<>", markdown)
