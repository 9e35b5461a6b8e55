"""Probes: small models trained on top of a representation to see what can be read from it.

Settings are picked on validation data (or on a held-out part of the training data) and the test data is used once.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.evaluate.measures import check_features, check_labels, few_threads

if TYPE_CHECKING:
    from course_lib.data.images import ImageSet


LabelledFeatures = tuple[Tensor, Tensor]
Arrays = tuple[np.ndarray, np.ndarray]

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
        same = len(a) > 1 and a.shape == b.shape and torch.equal(a, b) and torch.equal(a_labels, b_labels)
        # a single row may be in both by chance: a picture of one colour, or saved again
        if a is b or same or len(rows[one] & rows[other]) > max(1, 0.5 * min(len(a), len(b))):
            raise ValueError(
                f"{one} and {other} are the same images. A setting picked on the test images makes the test "
                "score too good: pass splits.train, splits.validation and splits.test.")


def _logistic_path(train: Arrays, validation: Arrays, settings: tuple[float, ...],
                   max_iter: int) -> tuple[Any, float, dict[float, float], bool]:
    """Fit from the strongest penalty to the weakest, each from the last one's weights; keep the best on validation.

    Stops when two in a row are worse than the best: weaker penalties cost most and help least.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    tried: dict[float, float] = {}
    best, best_setting, converged = None, settings[0], True
    model = LogisticRegression(max_iter=max_iter, tol=1e-4, warm_start=True)
    for setting in sorted(settings):
        model.set_params(C=setting)
        with warnings.catch_warnings(), few_threads(train[0].size):
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported as `converged`
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few pictures of each
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
    """Logistic regression on standardised features: how well does a linear read-out predict the class?

    Each argument is a pair (features float (N, D), labels int64 (N,)). Mean and standard deviation come from `train`;
    the penalty is picked on `validation` (the strongest of equals), the model is not refitted on train + validation,
    and `test` is predicted once. `limit` fits on a random part of train drawn by `seed`, told in `train_size`. Features
    of more than 2048 dimensions (raw pixels) are standardised and then projected on the 512 principal components of
    train, for speed: a penalised linear model hardly uses the others.

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


def linear_head(train: LabelledFeatures, validation: LabelledFeatures, *,
                settings: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), max_iter: int = 200) -> nn.Linear:
    """The classifier of `linear_probe` as a layer of the features as they are, (N, D) -> logits (N, classes).

    For what needs gradients of it, such as an attack. A class without training images is never named. Wide features are
    not projected.
    """
    x, x_held = (check_features(pair[0]).detach().cpu().float() for pair in (train, validation))
    y, y_held = (check_labels(pair[1], len(pair[0])).cpu() for pair in (train, validation))
    if len(y.unique()) < 2:
        raise ValueError("The training labels hold a single class: a classifier needs at least two.")
    mean, std = _moments(x)
    model, *_ = _logistic_path((((x - mean) / std).numpy(), y.numpy()), (((x_held - mean) / std).numpy(),
                                                                         y_held.numpy()), settings, max_iter)
    weight, bias = torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()
    if len(weight) == 1:  # of two classes scikit-learn keeps the second one's logit
        weight, bias = torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
    head = nn.Linear(x.shape[1], int(torch.cat([y, y_held]).max()) + 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-1e6)
        head.weight[model.classes_] = weight / std
        head.bias[model.classes_] = bias - weight @ (mean / std)
    return head


def _moments(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension; 1 where one is constant."""
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    # a dimension that is constant but for rounding must not be blown up to variance 1
    return mean, torch.where(std > 1e-6 * (1e-6 + mean.abs()), std, torch.ones_like(std))


def _standardiser(train: Tensor, seed: int = 0) -> Callable[[Tensor], np.ndarray]:
    """A map of features to float32 arrays of mean 0 and variance 1 on `train`, wide ones projected to COMPONENTS."""
    mean, std = _moments(train := train.float())
    axes = None
    if train.shape[1] > WIDE and len(train) > COMPONENTS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the factorisation starts from random directions
            axes = torch.svd_lowrank((train - mean) / std, q=COMPONENTS, niter=1)[2]

    def scale(features: Tensor) -> np.ndarray:
        scaled = (features.float() - mean) / std
        return (scaled if axes is None else scaled @ axes).cpu().numpy()

    return scale


# ------------------------------------------------------------------------------------------------ factors
def factor_probe(train_features: Tensor, train_set: ImageSet, test_features: Tensor, test_set: ImageSet, *,
                 limit: int | None = 5000, seed: int = 0) -> dict[str, float]:
    """Which known causes of the images can be read linearly from the features? A score in [0, 1] for each.

    number    R^2 of ridge regression on test, 0 where negative
    circular  the same for the sine and cosine of a turn in [0, 1), where 0 and 1 are one
    category  accuracy a of logistic regression beyond the majority class's, c: (a - c) / (1 - c)

    The penalty is picked on training rows: for numbers by leave-one-out (scikit-learn's RidgeCV), for
    categories on a held-out fifth. The test rows are used once.
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


def _ridge_score(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, circular: bool) -> float:
    from sklearn.linear_model import RidgeCV

    def targets(v: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(2 * np.pi * v), np.cos(2 * np.pi * v)], axis=1) if circular else v

    with few_threads(x.size):
        model = RidgeCV(len(x) * np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])).fit(x.astype(np.float64), targets(y))
    wanted = targets(y_test)
    error = np.square(model.predict(x_test) - wanted).sum()
    return float(np.clip(1 - error / np.square(wanted - wanted.mean(axis=0)).sum(), 0, 1))
