"""Evaluation: one kNN protocol, and raw pixels and a random encoder beside every result.

Here are `embed`, kNN, `score` and `table`; `measures` holds what needs no training (clusters, rank, spread)
and `probes` what is trained on top (linear probe, fine-tuning, a probe per factor). All can be imported
from here. Accuracies are fractions in [0, 1]; only `table` prints percent.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .augment import normalize, to_float
from .data import ImageSet, Splits
from .device import pick_device
from .measures import (alignment, check_features, check_labels, cluster_accuracy, cluster_match,
                       cluster_scores, covariance_spectrum, effective_rank, feature_std, rankme, uniformity,
                       unit)
from .probes import FineTuneResult, ProbeResult, factor_probe, fine_tune, linear_probe

__all__ = ["FineTuneResult", "ProbeResult", "alignment", "cluster_accuracy", "cluster_match",
           "cluster_scores", "covariance_spectrum", "effective_rank", "embed", "embed_projected",
           "factor_probe", "feature_std", "fine_tune", "knn", "knn_accuracy", "knn_predict", "knn_votes", "linear_probe", "rankme",
           "raw_pixels", "reinitialise", "score", "table", "uniformity"]


# ------------------------------------------------------------------------------------------------ features
def embed(model: nn.Module, images: ImageSet | Tensor, batch_size: int = 512,
          device: str | torch.device = "auto") -> Tensor:
    """The representations of `images`: float32 (N, D) on the CPU.

    `images` is an ImageSet or a tensor (N, 3, H, W), uint8 or float in [0, 1].
    `model` is a method (its `embed` is used) or any module that maps normalised float images (B, 3, H, W)
    to (B, D). It runs in evaluation mode without gradients; its mode and device are put back afterwards.
    """
    images = getattr(images, "images", images)
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(f"images must have shape (N, 3, H, W) with N > 0, but have {tuple(images.shape)}.")
    with _evaluating(model, pick_device(str(device))) as where:
        run = getattr(model, "embed", None) if hasattr(model, "backbone") else None
        parts = [run(batch) if run else model(normalize(batch))
                 for batch in (part.to(where) for part in images.split(batch_size))]
    if parts[0].ndim != 2:
        raise ValueError(f"the model gives {tuple(parts[0].shape)} for {len(parts[0])} images; expected "
                         "one vector per image, (B, D). Pool the map, for example with x.mean((2, 3)).")
    return torch.cat([part.float().cpu() for part in parts])


def embed_projected(method: nn.Module, images: ImageSet | Tensor, batch_size: int = 512) -> Tensor:
    """What the head of a joint-embedding method makes of its representations, and its loss acts on: float32 (N, D).

    On the CPU, in evaluation mode, without scaling to length 1. Raises ValueError for a method without a head.
    """
    head = next((getattr(method, name) for name in ("projector", "expander", "head") if hasattr(method, name)), None)
    if head is None:
        raise ValueError(f"{type(method).__name__} has no head: neither projector, expander nor head.")
    features = embed(method, images, batch_size)
    with _evaluating(method, next(head.parameters()).device) as where:
        return torch.cat([head(part.to(where)).float().cpu() for part in features.split(batch_size)])


@contextmanager
def _evaluating(model: nn.Module, device: torch.device) -> Iterator[torch.device]:
    modes = {module: module.training for module in model.modules()}  # a teacher may be in eval already
    home = next((p.device for p in model.parameters()), device)
    try:
        model.eval().to(device)
        with torch.no_grad():
            yield device
    finally:
        model.to(home)
        for module, mode in modes.items():
            module.training = mode


def raw_pixels(images: ImageSet | Tensor) -> Tensor:
    """The pixels themselves as features, float32 (N, 3 * H * W) in [0, 1]: what a method has to beat."""
    return to_float(getattr(images, "images", images)).flatten(1)


def reinitialise(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of `model` with new random weights, on its device: torch's own initialisation of every layer.

    Each layer's `reset_parameters` is called; running statistics of batch norm go back to mean 0, variance
    1. Free parameters of two or more dimensions (class tokens, learned positions) are drawn with deviation
    0.02. Raises ValueError for any other parameter that does not know how to reset itself.
    """
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    fresh = copy.deepcopy(model).cpu()  # weights drawn on the CPU are the same on every machine
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name, module in fresh.named_modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is not None:
                reset()
                continue
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.ndim < 2:
                    raise ValueError(f"{type(module).__name__} ({name or 'the model'}) owns {own!r} and "
                                     "cannot be re-initialised: give the class a reset_parameters() method.")
                parameter.normal_(std=0.02)
    return fresh.to(home)


# ------------------------------------------------------------------------------------------------ kNN
@torch.no_grad()
def knn_votes(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int = 20, temperature: float = 0.07,
              center: bool = True, classes: int | None = None) -> Tensor:
    """Votes of the k nearest bank images for each class: bank (N, D), queries (M, D) -> float (M, classes).

    Cosine similarity of features centred on the bank's mean; each neighbour votes with weight exp(cosine /
    temperature). center=False is the protocol of InstDisc, MoCo's demo and DINO. Runs on the bank's device
    in blocks of queries: no (M, N) matrix is kept.
    """
    bank, queries = check_features(bank, "bank features"), check_features(queries, "query features")
    labels = check_labels(bank_labels, len(bank), "bank labels").to(bank.device)
    if bank.shape[1] != queries.shape[1]:
        raise ValueError(f"the bank has {bank.shape[1]} features per image, the queries {queries.shape[1]}.")
    if not 1 <= k <= len(bank):
        raise ValueError(f"k={k} neighbours asked of {len(bank)} images; expected 1 to {len(bank)}.")
    mean = bank.mean(dim=0) if center else None
    bank, classes = unit(bank, mean), classes or int(labels.max()) + 1
    votes = []
    for block in queries.to(bank).split(max(1, 2**24 // len(bank))):
        near = (unit(block, mean) @ bank.T).topk(k, dim=1)
        weights = ((near.values - near.values[:, :1]) / temperature).exp()  # minus the largest: no overflow
        votes.append(weights.new_zeros(len(block), classes).scatter_add_(1, labels[near.indices], weights))
    return torch.cat(votes)


def knn_predict(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int = 20, temperature: float = 0.07,
                center: bool = True) -> Tensor:
    """The class with the most votes, int64 (M,); see `knn_votes`."""
    return knn_votes(bank, bank_labels, queries, k, temperature, center).argmax(dim=1)


def knn_accuracy(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, k: int = 20,
                 temperature: float = 0.07, center: bool = True) -> float:
    """Share of queries whose class kNN names: the course's one protocol (k=20, temperature 0.07, centred)."""
    labels = check_labels(labels, len(queries), "query labels")
    if bank is queries:
        raise ValueError("The bank and the queries are the same images: each would find itself. "
                         "Use the training images as the bank.")
    predicted = knn_predict(bank, bank_labels, queries, k, temperature, center)
    return float((predicted.cpu() == labels.cpu()).float().mean())


def knn(model: nn.Module, splits: Splits) -> float:
    """`knn_accuracy` of a model's representations of test images, with all training images as the bank."""
    bank, queries = (embed(model, part) for part in (splits.train, splits.test))
    return knn_accuracy(bank, splits.train.labels, queries, splits.test.labels)


# ------------------------------------------------------------------------------------------------ the table
def score(model: nn.Module | None, splits: Splits, *, name: str = "method", controls: bool = True,
          linear: bool = True, clusters: bool = False, factors: bool = False, supervised_epochs: int = 0,
          random_encoder: nn.Module | None = None, probe_limit: int | None = 5000, seed: int = 0,
          device: str | torch.device = "auto") -> list[dict]:
    """One row (a dict) for the model and, with `controls`, rows "random encoder" and "raw pixels".

    name, kind ("method" or "control"), dim, bank (images in the kNN bank: all of train), queries (test
    images), knn, linear (with linear_train images, at most probe_limit), linear_setting, rankme and
    effective_rank (of at most 4096 training images; None where there are fewer images than twice the
    dimensions), feature_std (of test); on request cluster_acc, cluster_nmi and cluster_ari (of test),
    factors (dict of `factor_probe`), and a row "supervised": the random encoder fine-tuned with all
    training labels. Without labels, what needs them is None.

    The random encoder is `random_encoder` or, if None, `reinitialise(model, seed)`: the same network, never
    trained, in evaluation mode with batch norm's untouched statistics (mean 0, variance 1).
    """
    splits = Splits(splits.train, splits.validation, splits.test)  # the unlabelled images are not needed here
    if not len(splits.train) or not len(splits.test):
        raise ValueError(f"score needs images in train and test; there are {len(splits.train)} and "
                         f"{len(splits.test)}.")
    fresh = None
    if model is not None and (controls or supervised_epochs):
        fresh = random_encoder or reinitialise(model, seed)
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
    if supervised_epochs:
        if fresh is None:
            raise ValueError("A supervised row needs a model: its network is trained with labels.")
        backbone = getattr(fresh, "backbone", fresh)
        result = fine_tune(backbone, splits, epochs=supervised_epochs, seed=seed, device=device)
        features = {split: embed(result.model[0], part, device=device)
                    for split, part in vars(splits).items() if part is not None}
        rows.append({"name": "supervised", "kind": "control", "fine_tuned": result.accuracy,
                     **_measure(features, splits, linear, clusters, factors, probe_limit, seed, device)})
    return rows


def _measure(parts: dict[str, Tensor], splits: Splits, linear: bool, clusters: bool, factors: bool,
             probe_limit: int | None, seed: int, device: str | torch.device) -> dict:
    bank, queries = parts["train"], parts["test"]
    bank_labels, labels = splits.train.labels, splits.test.labels
    row = dict.fromkeys(("knn", "linear", "linear_setting", "linear_train", "rankme", "effective_rank"))
    row |= {"dim": bank.shape[1], "bank": len(bank), "queries": len(queries)}
    row |= {"feature_std": feature_std(queries)}
    if bank_labels is not None and labels is not None:
        where = pick_device(str(device))
        where = where if where.type == "cuda" else "cpu"  # older MPS finds at most 16 neighbours
        row["knn"] = knn_accuracy(bank.to(where), bank_labels, queries, labels, k=min(20, len(bank)))
        if linear and "validation" in parts:
            probe = linear_probe((bank, bank_labels), (parts["validation"], splits.validation.labels),
                                 (queries, labels), limit=probe_limit, seed=seed)
            row |= {"linear": probe.accuracy, "linear_setting": probe.setting}
            row |= {"linear_train": probe.train_size}
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
    """The rows of `score` as aligned text or as a Markdown table; accuracies in percent, what is missing as
    "-"."""
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]

    def show(key: str, value: float | None) -> str:
        if value is None or math.isnan(value):
            return "-"
        if key in PERCENT:
            return f"{100 * value:.1f} %"
        return f"{value:.1f}" if "rank" in key else f"{value:.2f}"

    lines = [["", *(COLUMNS[key] for key in keys)]]
    lines += [[row["name"], *(show(key, row.get(key)) for key in keys)] for row in rows]
    width = [max(len(line[i]) for line in lines) for i in range(len(keys) + 1)]
    ready = [[line[0].ljust(width[0]), *(cell.rjust(w) for cell, w in zip(line[1:], width[1:]))]
             for line in lines]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in ready)
    rule = ["-" * max(3, width[0]), *("-" * max(2, w - 1) + ":" for w in width[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [ready[0], rule, *ready[1:]])
