"""Probes: small models trained on top of a representation to see what can be read from it.

Settings are picked on validation data (or on a held-out part of the training data) and the test data is
used once.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

import numpy as np
import torch
from torch import Tensor, nn

from .augment import normalize
from .device import pick_device
from .measures import check_features, check_labels, few_threads
from .optim import layer_decay_groups, parameter_groups

if TYPE_CHECKING:
    from .data import ImageSet, Splits

LabelledFeatures = tuple[Tensor, Tensor]
WIDE, COMPONENTS = 2048, 512  # wider features (raw pixels) are projected for the probes: see linear_probe


@dataclass
class ProbeResult:
    """Accuracies are fractions. `setting` is scikit-learn's C, the inverse strength of the penalty."""

    accuracy: float                  # on test, computed once
    setting: float                   # picked on validation
    validation_accuracy: float
    train_size: int                  # rows used for fitting: fewer than given if `limit` applied
    tried: dict[float, float] = field(default_factory=dict)  # setting -> validation accuracy
    converged: bool = True           # False: the solver stopped at max_iter, a form of early stopping


def _refuse_overlap(parts: dict[str, LabelledFeatures]) -> None:
    """ValueError when two of the data sets are the same data, whole or in large part."""
    # Hashes of distinct rows, so that collapsed features (all rows alike) are not taken for a copy.
    rows = {name: {hash(row.tobytes()) for row in features.numpy()} for name, (features, _) in parts.items()}
    for one, other in itertools.combinations(parts, 2):
        (a, a_labels), (b, b_labels) = parts[one], parts[other]
        same = a is b or (a.shape == b.shape and torch.equal(a, b) and torch.equal(a_labels, b_labels))
        if same or len(rows[one] & rows[other]) > 0.5 * min(len(a), len(b)):
            raise ValueError(
                f"{one} and {other} are the same images. A setting picked on the test images makes the test "
                "score too good: pass splits.train, splits.validation and splits.test.")


def _logistic_path(train: LabelledFeatures, validation: LabelledFeatures, settings: tuple[float, ...],
                   max_iter: int) -> tuple[object, float, dict[float, float], bool]:
    """Fit from the strongest penalty to the weakest, each from the last one's weights; keep the best on
    validation. Stops when two in a row were worse than the best: weaker penalties cost most and help
    least."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    tried: dict[float, float] = {}
    best, best_setting, converged = None, settings[0], True
    model = LogisticRegression(max_iter=max_iter, tol=1e-4, warm_start=True)
    for setting in sorted(settings):
        model.set_params(C=setting)
        with warnings.catch_warnings(), few_threads(train[0].size):
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported as `converged`
            model.fit(*train)
        tried[setting] = float(model.score(*validation))
        if best is None or tried[setting] > tried[best_setting]:
            best, best_setting = copy.deepcopy(model), setting
            converged = int(np.max(model.n_iter_)) < max_iter
        elif sum(other > best_setting for other in tried) == 2:
            break
    return best, best_setting, tried, converged


def linear_probe(train: LabelledFeatures, validation: LabelledFeatures, test: LabelledFeatures, *,
                 settings: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), limit: int | None = None,
                 max_iter: int = 200, seed: int = 0) -> ProbeResult:
    """Logistic regression on standardised features: how well does a linear read-out name the class?

    Each argument is a pair (features float (N, D), labels int64 (N,)). Mean and deviation come from
    `train`; the penalty is picked on `validation` (the strongest of equals), the model is not refitted on
    train + validation, and `test` is predicted once. `limit` fits on a random part of train drawn by
    `seed`, told in `train_size`. Features of more than 2048 dimensions (raw pixels) are standardised and
    then projected on the 512 principal components of train, for speed: a penalised linear model hardly uses
    the others.

    Raises ValueError when two of the sets are the same images, or when features or labels are unusable.
    """
    parts = {}
    for name, pair in {"train": train, "validation": validation, "test": test}.items():
        features = check_features(pair[0], f"{name} features")
        parts[name] = (features.detach().cpu(), check_labels(pair[1], len(features), f"{name} labels").cpu())
    _refuse_overlap(parts)
    if limit is not None and limit < len(parts["train"][1]):
        chosen = torch.randperm(len(parts["train"][1]), generator=torch.Generator().manual_seed(seed))[:limit]
        parts["train"] = (parts["train"][0][chosen], parts["train"][1][chosen])
    if len(parts["train"][1].unique()) < 2:
        raise ValueError("The training labels hold a single class: a classifier needs at least two.")
    scale = _standardiser(parts["train"][0], seed)
    ready = {name: (scale(x), y.numpy()) for name, (x, y) in parts.items()}
    model, setting, tried, converged = _logistic_path(ready["train"], ready["validation"], settings, max_iter)
    return ProbeResult(float(model.score(*ready["test"])), setting, tried[setting], len(parts["train"][1]),
                       tried, converged)


def _standardiser(train: Tensor, seed: int = 0) -> Callable[[Tensor], np.ndarray]:
    """What maps features to float32 arrays of mean 0 and variance 1 on `train`, and wide ones to
    COMPONENTS."""
    train = train.float()
    mean, deviation = train.mean(dim=0), train.std(dim=0, correction=0)
    # A dimension that is constant but for rounding must not be blown up to variance 1.
    deviation = torch.where(deviation > 1e-6 * (1e-6 + mean.abs()), deviation, torch.ones_like(deviation))
    axes = None
    if train.shape[1] > WIDE and len(train) > COMPONENTS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the factorisation starts from random directions
            axes = torch.svd_lowrank((train - mean) / deviation, q=COMPONENTS, niter=1)[2]

    def scale(features: Tensor) -> np.ndarray:
        scaled = (features.float() - mean) / deviation
        return (scaled if axes is None else scaled @ axes).cpu().numpy()

    return scale


# ------------------------------------------------------------------------------------------------ fine-tuning

@dataclass
class FineTuneResult:
    """`accuracy` is on test after the last epoch (not the best one); accuracies are fractions."""

    accuracy: float
    validation_curve: list[float]    # after each epoch
    loss_curve: list[float]          # mean training loss of each epoch
    train_size: int
    model: nn.Sequential             # (backbone, linear head), the trained copy


def fine_tune(backbone: nn.Module, splits: Splits, *, epochs: int = 10, lr: float = 1e-3,
              weight_decay: float = 0.05, batch_size: int = 256, frozen: bool = False,
              augment: Callable | None = None, limit: int | None = None, seed: int = 0,
              layer_decay: float | None = None, device: str | torch.device = "auto") -> FineTuneResult:
    """Train a linear head and, unless `frozen`, a copy of the backbone with labels (AdamW, warm-up,
    cosine).

    `backbone` maps normalised float images (B, 3, H, W) to (B, D) and is left as it was.
    `augment(images_uint8, generator)` returns float images in [0, 1]; None trains on the images as they
    are. `limit` uses the first so many images of a seeded shuffle (learning from few labels). A supervised
    baseline is `fine_tune(reinitialise(backbone), splits)`.

    `layer_decay` (a ViT only): each block below the last learns slower by this factor (see
    `optim.layer_decay_groups`).

    frozen=True keeps the backbone in evaluation mode and out of the graph: its gradients stay None.
    """
    for name in ("train", "validation", "test"):
        part = getattr(splits, name)
        check_labels(part.labels, len(part.images), f"{name} labels")
    if any(part.images is splits.test.images for part in (splits.train, splits.validation)):
        raise ValueError("test and another split are the same images: pass three separate sets.")
    device = pick_device(str(device))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(splits.train.images), generator=generator)[:limit]
    images, labels = splits.train.images[order], splits.train.labels[order]
    backbone = copy.deepcopy(backbone).to(device).requires_grad_(not frozen)
    backbone.zero_grad(set_to_none=True)
    with torch.no_grad():
        width = backbone.eval()(_ready(images[:2], device)).shape[1]
    head = nn.Linear(width, int(splits.train.labels.max()) + 1)
    nn.init.trunc_normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    model = nn.Sequential(backbone, head).to(device)
    if layer_decay is None or frozen:
        groups = parameter_groups(model, weight_decay)
    else:
        groups = layer_decay_groups(backbone, weight_decay, layer_decay) + parameter_groups(head, weight_decay)
    optimizer = torch.optim.AdamW([{"params": group["params"], "weight_decay": group["weight_decay"],
                                    "lr": lr * group.get("lr_scale", 1.0)} for group in groups], lr=lr)
    total = epochs * -(-len(images) // batch_size)
    warm = max(1, total // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warm, 0.5 * (1 + np.cos(np.pi * max(0, step - warm) / max(1, total - warm)))))
    losses, validation = [], []
    for _ in range(epochs):
        model.train()
        if frozen:
            backbone.eval()  # batch norm must not adapt either
        summed = 0.0
        for batch in torch.randperm(len(images), generator=generator).split(batch_size):
            view = images[batch] if augment is None else augment(images[batch], generator)
            loss = nn.functional.cross_entropy(model(_ready(view, device)), labels[batch].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            summed += float(loss.detach()) * len(batch)
        losses.append(summed / len(images))
        validation.append(_accuracy(model, splits.validation, device))
    accuracy = _accuracy(model, splits.test, device)
    return FineTuneResult(accuracy, validation, losses, len(images), model)


def _ready(images: Tensor, device: torch.device) -> Tensor:
    images = images.to(device)
    return normalize(images.float() / 255 if images.dtype == torch.uint8 else images)


@torch.no_grad()
def _accuracy(model: nn.Module, part: ImageSet, device: torch.device) -> float:
    model.eval()
    right = sum(int((model(_ready(x, device)).argmax(dim=1).cpu() == y).sum())
                for x, y in zip(part.images.split(512), part.labels.split(512)))
    return right / len(part.images)


# ------------------------------------------------------------------------------------------------ factors

def factor_probe(train_features: Tensor, train_set: ImageSet, test_features: Tensor, test_set: ImageSet, *,
                 limit: int | None = 5000, seed: int = 0) -> dict[str, float]:
    """Which known causes of the images can be read linearly from the features? A score in [0, 1] for each.

    number    R^2 of ridge regression on test, 0 where negative
    circular  the same for sine and cosine together of a turn in [0, 1), where 0 and 1 are the same
    category  accuracy a of logistic regression above that of the commonest class, c: (a - c) / (1 - c)

    The penalty is picked on a fifth of the training rows that is held out; the test rows are used once.
    Rows where a factor is NaN are dropped for that factor. A factor that is constant, or defined on fewer
    than 20 rows, scores NaN. `limit` uses a random part of the training rows, drawn by `seed`.
    """
    train_features = check_features(train_features, "train features").cpu()
    test_features = check_features(test_features, "test features").cpu()
    for name, features, part in (("train", train_features, train_set), ("test", test_features, test_set)):
        if len(features) != len(part.images):
            raise ValueError(f"{len(features)} {name} features for {len(part.images)} {name} images.")
    if train_set is test_set or train_features is test_features:
        raise ValueError("train and test are the same images: test a probe on images it has not seen.")
    if not train_set.factors:
        raise ValueError(f"{train_set.name!r} has no known factors: only generated images have.")
    order = torch.randperm(len(train_features), generator=torch.Generator().manual_seed(seed))[:limit]
    scale = _standardiser(train_features[order], seed)
    x, x_test = scale(train_features[order]), scale(test_features)
    scores = {}
    for name in train_set.factors:
        kind = train_set.kinds.get(name, "number")
        y, y_test = train_set.factors[name][order].double().numpy(), test_set.factors[name].double().numpy()
        rows, rows_test = ~np.isnan(y), ~np.isnan(y_test)
        if min(rows.sum(), rows_test.sum()) < 20 or np.ptp(y[rows]) == 0 or np.ptp(y_test[rows_test]) == 0:
            scores[name] = float("nan")
            continue
        data = x[rows], y[rows], x_test[rows_test], y_test[rows_test]
        scores[name] = (_category_score(*data) if kind == "category"
                        else _ridge_score(*data, circular=kind == "circular"))
    return scores


def _category_score(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    y, y_test, cut = y.astype(np.int64), y_test.astype(np.int64), len(y) // 5
    if len(np.unique(y[cut:])) < 2:
        return float("nan")
    model, *_ = _logistic_path((x[cut:], y[cut:]), (x[:cut], y[:cut]), (1e-3, 1e-2, 1e-1), max_iter=60)
    chance = np.bincount(y_test).max() / len(y_test)
    return float(np.clip((model.score(x_test, y_test) - chance) / (1 - chance), 0, 1))


def _ridge_score(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray,
                 circular: bool) -> float:
    def columns(v: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(2 * np.pi * v), np.cos(2 * np.pi * v)], axis=1) if circular else v[:, None]

    targets, targets_test = columns(y), columns(y_test)
    cut = len(y) // 5
    fit_x, fit_y = x[cut:].astype(np.float64), targets[cut:]
    mean_x, mean_y = fit_x.mean(axis=0), fit_y.mean(axis=0)
    fit_x = fit_x - mean_x
    gram, right = fit_x.T @ fit_x, fit_x.T @ (fit_y - mean_y)

    def r2(weights: np.ndarray, inputs: np.ndarray, wanted: np.ndarray) -> float:
        error = np.square((inputs - mean_x) @ weights + mean_y - wanted).sum()
        return 1 - error / np.square(wanted - wanted.mean(axis=0)).sum()

    best, best_weights = -np.inf, None
    for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        weights = np.linalg.solve(gram + strength * len(fit_x) * np.eye(len(gram)), right)
        held_out = r2(weights, x[:cut], targets[:cut])
        if held_out > best:
            best, best_weights = held_out, weights
    return float(np.clip(r2(best_weights, x_test, targets_test), 0, 1))
