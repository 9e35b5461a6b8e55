"""Exercises of project P1: parting by scenes, few labels, reading them by ridge regression, a paired interval."""
from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.data.album import split_scenes
from course_lib.evaluate.labels import few_labels
from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import rand, randn


def _whole(fn, *arguments, **named):
    """The harness: index tensors in ascending order, as sets of pictures have none; other results as they are."""
    found = fn(*arguments, **named)

    def put(value):
        value = torch.tensor(value) if isinstance(value, list) else value
        return value.sort().values if isinstance(value, Tensor) and value.ndim == 1 and not value.is_floating_point() \
            and value.dtype != torch.bool else value

    return {key: put(value) for key, value in found.items()} if isinstance(found, dict) else put(found)


# ------------------------------------------------------------------------------------------------ P1.split_scenes
def _scene_probes(generator, dtype):
    def album(scenes: int, pictures: int) -> tuple[Tensor, Tensor]:
        of = torch.cat([torch.arange(scenes), torch.randint(scenes, (pictures - scenes,), generator=generator)])
        return of[torch.randperm(pictures, generator=generator)], torch.randperm(scenes, generator=generator)

    return [(*album(10, 31), 0.6, 0.2), (*album(7, 25), 0.45, 0.3), (*album(13, 40), 0.5, 0.25),
            dict(zip(("scenes", "order", "train", "validation"), (*album(9, 9), 0.7, 0.1)))]


def _cut(count: int, train: float, validation: float) -> tuple[int, int]:
    return round(train * count), round(train * count) + round(validation * count)


def _of(scenes: Tensor, **parts: Tensor) -> dict:
    return {name: torch.isin(scenes, some).nonzero().flatten() for name, some in parts.items()}


def _by_picture(scenes, order, train, validation):
    a, b = _cut(len(scenes), train, validation)
    pictures = torch.arange(len(scenes))
    return {"train": pictures[:a], "validation": pictures[a:b], "test": pictures[b:]}


def _the_scenes(scenes, order, train, validation):
    a, b = _cut(len(order), train, validation)
    return {"train": order[:a], "validation": order[a:b], "test": order[b:]}


def _unshuffled(scenes, order, train, validation):
    return split_scenes(scenes, order.sort().values, train, validation)


def _overlapping(scenes, order, train, validation):
    a, b = _cut(len(order), train, validation)
    return _of(scenes, train=order[:a], validation=order[a:b], test=order[a:])


def _one_frame(scenes, order, train, validation):
    found = split_scenes(scenes, order, train, validation)
    first = torch.stack([(scenes == s).nonzero()[0, 0] for s in order])
    return {name: some[torch.isin(some, first)] for name, some in found.items()}


def _of_the_rest(scenes, order, train, validation):
    a = round(train * len(order))
    return split_scenes(scenes, order, train, round(validation * (len(order) - a)) / len(order))


def _masks(scenes, order, train, validation):
    a, b = _cut(len(order), train, validation)
    return {name: torch.isin(scenes, some) for name, some in
            {"train": order[:a], "validation": order[a:b], "test": order[b:]}.items()}


def _ranked(scenes, order, train, validation):
    """A right answer: the rank of each picture's scene in the order."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    a, b = _cut(len(order), train, validation)
    place = rank[scenes]
    return {"train": (place < a).nonzero().flatten(), "validation": ((place >= a) & (place < b)).nonzero().flatten(),
            "test": (place >= b).nonzero().flatten()}


split = Exercise(
    key="P1.split_scenes", title="Part by scenes, not by pictures", minutes=8, difficulty=2,
    reference="course_lib.data.album:split_scenes", probes=_scene_probes, call=_whole, plain=True,
    words={"['train']": "the positions of the training pictures", "['validation']": "those for validation",
           "['test']": "those for testing"},
    wrong={
        "by picture": (
            _by_picture,
            "You part the pictures. Two frames of one scene can then land on both sides of the line, which is the"
            " leak: shuffle and part the *scenes*."),
        "numbers of scenes": (
            _the_scenes,
            "These are numbers of scenes. Asked for are positions of pictures: all pictures whose scene is among "
            "them (`torch.isin`)."),
        "the order is not used": (
            _unshuffled,
            "The scenes are parted in the order of their numbers, which is often the order of the dates. `order` "
            "has them shuffled."),
        "test holds validation": (
            _overlapping,
            "Your test pictures contain those for validation: a setting picked on them has seen the test."),
        "one frame of each scene": (
            _one_frame,
            "You keep one picture of each scene; all of them belong to the part."),
        "a share of what is left": (
            _of_the_rest,
            "`validation` is a share of *all* scenes, not of those that training left over."),
        "masks": (
            _masks,
            "Right pictures, as masks of True and False; asked for are positions: `.nonzero().flatten()`."),
        "the parts exchanged": (
            lambda *a, **k: (lambda f: {"train": f["test"], "validation": f["validation"], "test": f["train"]})(
                split_scenes(*a, **k)),
            "Training and test pictures are exchanged: the first scenes of `order` are for training."),
    },
    right={"the rank of each scene": _ranked},
    hints=("Which things must never be torn apart? Part those, and then ask of each picture where it belongs.",
           "Cut `order` at round(train * len(order)) and round(validation * len(order)) later; torch.isin(scenes,"
           " part) is True for the pictures of a part.",
           "first = round(train * len(order))\n"
           "second = first + round(validation * len(order))\n"
           'parts = {"train": order[:first], "validation": order[first:second], "test": order[second:]}\n'
           "return {name: torch.isin(scenes, some).nonzero().flatten() for name, some in parts.items()}"),
)


# ------------------------------------------------------------------------------------------------ P1.few_labels
def _label_probes(generator, dtype):
    def few(count: int, classes: int) -> tuple[Tensor, Tensor]:
        labels = torch.cat([torch.arange(classes), torch.randint(classes, (count - classes,), generator=generator)])
        return labels[torch.randperm(count, generator=generator)], torch.randperm(count, generator=generator)

    rare = torch.tensor([4, 1, 1, 4, 1, 7, 1, 4, 4, 1, 1])  # one picture of class 7
    return [(*few(40, 5), 2), (*few(33, 3), 4), (rare, torch.randperm(11, generator=generator), 3),
            dict(zip(("labels", "order", "k"), (*few(29, 4), 1)))]


def _first_of_all(labels, order, k):
    return order[:k * len(labels.unique())]


def _places_in_order(labels, order, k):
    return torch.cat([(labels[order] == c).nonzero().flatten()[:k] for c in labels.unique()])


def _ignoring_order(labels, order, k):
    return torch.cat([(labels == c).nonzero().flatten()[:k] for c in labels.unique()])


def _numbered(labels, order, k):
    return torch.cat([order[labels[order] == c][:k] for c in range(len(labels.unique()))])


def _only_full(labels, order, k):
    return torch.cat([order[labels[order] == c][:k] for c in labels.unique() if int((labels == c).sum()) >= k])


def _unaligned(labels, order, k):
    return torch.cat([order[labels == c][:k] for c in labels.unique()])


def _sliced(labels, order, k):
    """A right answer: class by class."""
    return torch.cat([order[labels[order] == c][:k] for c in labels.unique()])


few = Exercise(
    key="P1.few_labels", title="The same few labels for everybody", minutes=6, difficulty=2,
    reference="course_lib.evaluate.labels:few_labels", probes=_label_probes, call=_whole, plain=True,
    words={"result": "the positions of the labelled pictures"},
    wrong={
        "the first of the order": (
            _first_of_all,
            "As many pictures as asked for, but of whatever class comes: with few labels some class may get none."
            " Take k of *each* class."),
        "places in the order": (
            _places_in_order,
            "You return places in `order`; the pictures' positions are the entries of `order` there."),
        "the order is not used": (
            _ignoring_order,
            "Every draw of labels takes the same pictures: the first of the folder. Take them in `order`."),
        "classes counted from 0": (
            _numbered,
            "Classes need not be 0, 1, 2, ...: ask `labels.unique()` which there are."),
        "rare classes left out": (
            _only_full,
            "A class with fewer than k pictures gives what it has."),
        "labels not put in order": (
            _unaligned,
            "`labels == c` speaks of positions in the folder, `order` is shuffled: compare `labels[order]`."),
        "one too many": (
            lambda labels, order, k: few_labels(labels, order, k + 1),
            "k + 1 pictures of a class: a slice [:k] has k entries."),
        "the first left out": (
            lambda labels, order, k: torch.cat([order[labels[order] == c][1:k + 1] for c in labels.unique()]),
            "You leave out the first picture of each class: positions are counted from 0, and the first k are [:k]."),
        "the last of the order": (
            lambda labels, order, k: few_labels(labels, order.flip(0), k),
            "You take the last pictures of each class in `order`; asked for are the first, so that more labels "
            "*add* pictures."),
    },
    right={"class by class": _sliced},
    hints=("Go through the pictures in `order`. When is one taken?",
           "labels[order] are the classes in that order; order[labels[order] == c] the pictures of class c, "
           "shuffled.",
           "return torch.cat([order[labels[order] == c][:k] for c in labels.unique()])"),
)


# ------------------------------------------------------------------------------------------------ P1.ridge_scores
def _ridge_probes(generator, dtype):
    def some(n: int, m: int, d: int, classes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        of = torch.tensor([classes[i % len(classes)] for i in range(n)])
        of = of[torch.randperm(n, generator=generator)]
        spread = 0.3 + 2 * rand(generator, dtype, d)  # some dimensions vary more than others
        centres = randn(generator, dtype, max(classes) + 1, d)
        return (centres[of] + randn(generator, dtype, n, d)) * spread + 1.5, of, 1.0 + 2 * randn(generator, dtype, m, d)

    return [(*some(11, 6, 4, [0, 1, 2]), 0.3), (*some(13, 9, 7, [1, 3, 4, 8]), 0.05), (*some(7, 5, 10, [0, 2]), 1.5),
            dict(zip(("features", "labels", "queries"), some(17, 8, 5, [0, 1, 2, 5])))]


def _ridge(features, labels, queries, penalty=0.1, centre=True, scale=True, own=False, back=True,
           width=True, correction=0, all_classes=False, of_queries=True, one_scale=False, solve=True,
           together=False):
    """`ridge_scores` with a step left out, asked for by name."""
    of = torch.cat([features, queries]) if together else features
    mean, std = of.mean(0), of.std(0, correction=correction) + 1e-6
    std = (features - mean).square().mean().sqrt() + 1e-6 + 0 * std if one_scale else std
    mean, std = mean if centre else 0 * mean, std if scale else torch.ones_like(std)
    x = (features - mean) / std
    q = (queries - queries.mean(0)) / (queries.std(0, correction=0) + 1e-6) if own else (queries - mean) / std
    classes = torch.arange(int(labels.max()) + 1) if all_classes else labels.unique()
    y = (labels[:, None] == classes).to(x.dtype)
    middle, d = y.mean(0), x.shape[1] if width else 1
    kernel = x @ x.T / d + penalty * torch.eye(len(x), dtype=x.dtype)
    weights = torch.linalg.solve(kernel, y) if solve else kernel @ y
    scores = (q if of_queries else x) @ x.T / d @ weights
    return scores + middle if back else scores


def _but(**mistake):
    return lambda *a, **k: _ridge(*a, **k, **mistake)


def _primal(features, labels, queries, penalty=0.1):
    """A right answer: the same regression by its D weights for each class."""
    mean, std = features.mean(0), features.std(0, unbiased=False) + 1e-6
    x, q = (features - mean) / std, (queries - mean) / std
    y = F.one_hot(labels.unique(return_inverse=True)[1]).to(x.dtype)
    d = x.shape[1]
    weights = torch.linalg.inv(x.T @ x / d + penalty * torch.eye(d, dtype=x.dtype)) @ x.T @ (y - y.mean(0)) / d
    return y.mean(0) + q @ weights


ridge = Exercise(
    key="P1.ridge_scores", title="Read few labels by ridge regression", minutes=10, difficulty=3,
    reference="course_lib.evaluate.labels:ridge_scores", probes=_ridge_probes, tolerance=1e-4,
    words={"result": "the scores"},
    wrong={
        "not centred": (
            _but(centre=False),
            "The features are scaled but not centred: subtract the mean of the labelled ones, from the queries as"
            " well."),
        "not scaled": (
            _but(scale=False),
            "The features are centred but not scaled: a dimension that varies ten times as much counts ten times "
            "as much. Divide by the standard deviation."),
        "queries by their own statistics": (
            _but(own=True),
            "You standardise the queries by *their* mean and standard deviation: a score would depend on which "
            "other test pictures there are."),
        "the mean is not added back": (
            _but(back=False),
            "Centred features say nothing of how frequent a class is: add y.mean(0) to the scores."),
        "the kernel is not divided by D": (
            _but(width=False),
            "Without the division by D the penalty means something else for each width: wide features get almost "
            "none."),
        "one scale for all dimensions": (
            _but(one_scale=True),
            "You divide all dimensions by one number, so those that vary more still count more. Each has its own "
            "standard deviation: over the pictures, dim 0."),
        "standardised with the queries": (
            _but(together=True),
            "Your mean and standard deviation are those of labelled pictures *and* queries: then a score depends on "
            "which other test pictures there are."),
        "multiplied, not solved": (
            _but(solve=False),
            "You multiply by the kernel with its penalty. The formula has its inverse: torch.linalg.solve."),
        "the penalty squared into the kernel": (
            lambda features, labels, queries, penalty=0.1: _ridge(features, labels, queries, penalty**2),
            "The penalty itself is added to the diagonal, not its square."),
        "a column for every number": (
            _but(all_classes=True),
            "Asked for is a column for each class that occurs (`labels.unique()`), not for each number up to the "
            "largest."),
        "the labelled ones scored": (
            _but(of_queries=False),
            "These are scores of the labelled pictures themselves; asked for are the queries'."),
    },
    right={"by weights of the dimensions": _primal},
    hints=("Standardise; one-hot targets; a kernel of the labelled ones, a linear system; a kernel of queries "
           "with them.",
           "K = x @ x.T / D; solve (K + penalty * I) w = y; the scores are q @ x.T / D @ w + y.mean(0).",
           "mean, std = features.mean(0), features.std(0, correction=0) + 1e-6\n"
           "x, q = (features - mean) / std, (queries - mean) / std\n"
           "y = (labels[:, None] == labels.unique()).to(x.dtype)\n"
           "kernel = x @ x.T / x.shape[1]\n"
           "weights = torch.linalg.solve(kernel + penalty * torch.eye(len(x), dtype=x.dtype), y)\n"
           "return q @ x.T / x.shape[1] @ weights + y.mean(0)"),
)


# ------------------------------------------------------------------------------------------------ P1.paired_interval
def paired_interval(a, b, t):
    """Accuracies of two networks for the same draws (n,), the t factor -> {"low", "mean", "high"} of a - b."""
    gains = a - b
    half = t * gains.std() / math.sqrt(len(gains))
    return {"low": gains.mean() - half, "mean": gains.mean(), "high": gains.mean() + half}


def _pair_probes(generator, dtype):
    def pair(n: int) -> tuple[Tensor, Tensor]:
        luck = rand(generator, dtype, n)
        return 0.3 + 0.4 * luck + 0.1 * rand(generator, dtype, n), 0.32 + 0.5 * luck

    return [(*pair(5), 2.776), (*pair(10), 2.262), (*pair(3), 4.303), dict(zip("abt", (*pair(8), 2.365)))]


def _numbers(fn, *arguments, **named):
    result = fn(*arguments, **named)
    if not isinstance(result, dict):
        return result
    return {key: float(value) if isinstance(value, (int, float, Tensor)) and not isinstance(value, bool) else value
            for key, value in result.items()}


def _around(gains: Tensor, half) -> dict:
    return {"low": gains.mean() - half, "mean": gains.mean(), "high": gains.mean() + half}


def _median(gains: Tensor, t: float) -> dict:
    middle = gains.sort().values[[(len(gains) - 1) // 2, len(gains) // 2]].mean()
    return {end: middle + sign * t * gains.std() / len(gains) ** 0.5 for end, sign in
            (("low", -1), ("mean", 0), ("high", 1))}


def _scipy(a, b, t):
    """A right answer: sums by hand."""
    gains = [float(x) - float(y) for x, y in zip(a, b)]
    n, middle = len(gains), sum(gains) / len(gains)
    half = t * (sum((g - middle) ** 2 for g in gains) / (n - 1) / n) ** 0.5
    return {"low": middle - half, "mean": middle, "high": middle + half}


pair = Exercise(
    key="P1.paired_interval", title="An interval of the difference", minutes=7, difficulty=3,
    reference=paired_interval, probes=_pair_probes, call=_numbers, plain=True,
    words={"['low']": "the lower end", "['mean']": "the mean difference", "['high']": "the upper end"},
    wrong={
        "unpaired": (
            lambda a, b, t: _around(a - b, t * ((a.var() + b.var()) / len(a)) ** 0.5),
            "You add the two variances, as for networks that saw *different* labels. Here both saw the same draw,"
            " and its luck cancels in the difference: subtract first, then take the spread."),
        "the spread of one draw": (
            lambda a, b, t: _around(a - b, t * (a - b).std()),
            "That is the spread of single draws. The mean of n draws is surer, by sqrt(n)."),
        "divided by n": (
            lambda a, b, t: _around(a - b, t * (a - b).std() / len(a)),
            "The standard error falls with sqrt(n), not with n."),
        "n instead of n - 1": (
            lambda a, b, t: _around(a - b, t * (a - b).std(correction=0) / len(a) ** 0.5),
            "With few draws the standard deviation needs n - 1 (torch's default)."),
        "without t": (
            lambda a, b, t: _around(a - b, (a - b).std() / len(a) ** 0.5),
            "One standard error each way covers the truth two times in three; t makes it 95 %."),
        "the other way round": (
            lambda a, b, t: paired_interval(b, a, t),
            "That is what b gains over a."),
        "the variance": (
            lambda a, b, t: _around(a - b, t * (a - b).var() / len(a) ** 0.5),
            "A variance has squared units; an interval needs the standard deviation."),
        "the median": (
            lambda a, b, t: _median(a - b, t),
            "You took the median of the differences. The interval is one of their *mean*."),
        "the extremes": (
            lambda a, b, t: {"low": (a - b).min(), "mean": (a - b).mean(), "high": (a - b).max()},
            "Least and greatest difference of the draws: that grows with their number, and is no interval of the "
            "mean."),
    },
    right={"sums by hand": _scipy},
    hints=("The same draw of labels was lucky or unlucky for both. What is left of the luck in a - b?",
           "The standard error of a mean of n values is std / sqrt(n); the interval reaches t of them each way.",
           "gains = a - b\n"
           "half = t * gains.std() / math.sqrt(len(gains))\n"
           'return {"low": gains.mean() - half, "mean": gains.mean(), "high": gains.mean() + half}'),
)

EXERCISES = [split, few, ridge, pair]
