"""Which labels deserve trust: wrong ones planted, how well a choice of clean ones is, how honest a confidence is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from course_lib.methods.clustering.shared import nearest_rows


def mislabel(logits: Tensor, which: Tensor, generator: torch.Generator, together: Tensor | None = None) -> Tensor:
    """Logits (N, K) that name another cluster for the images `which`, int64 (M,), and are as sure of it as before.

    The largest logit changes places with another cluster's, drawn for each image, or for each number in `together`,
    int64 (M,): images with the same number then all get the same cluster (but for those that were in it already, which
    are left).
    """
    clusters, top = logits.shape[1], logits[which].argmax(1)  # (M,)
    if together is None:
        steps = torch.randint(1, clusters, (len(which),), generator=generator)
        other = (top.cpu() + steps) % clusters
    else:
        other = torch.randint(clusters, (int(together.max()) + 1,), generator=generator)[together.cpu()]
    other, changed, row = other.to(logits.device), logits.clone(), which.to(logits.device)
    changed[row, other], changed[row, top] = logits[row, top], logits[row, other]
    return changed


def patches_of(z: Tensor, share: float, generator: torch.Generator, size: int = 200) -> tuple[Tensor, Tensor]:
    """About `share` of N images, in groups of `size` nearest neighbours by rows z (N, D): their numbers (M,), groups
    (M,), int64 both.

    A group is the neighbourhood of an image that is in none yet, so it may keep fewer than `size`.
    """
    group = torch.full((len(z),), -1)
    number = 0
    while (group >= 0).float().mean() < share and number < len(z):
        free = (group < 0).nonzero()[:, 0]
        centre = free[torch.randint(len(free), (1,), generator=generator)]
        near = nearest_rows(z, min(size, len(z)), rows=centre.to(z.device))[0].cpu()
        group[near[group[near] < 0]] = number
        number += 1
    which = (group >= 0).nonzero()[:, 0]
    return which, group[which]


OWN = "SCAN's own"  # the kind of wrong labels that nobody planted


def planted(logits: Tensor, z: Tensor, share: float = 0.3) -> dict[str, Tensor]:
    """A clusterer's logits (N, K) by what is wrong with them: OWN (as they are), "scattered" and "together".

    scattered: `mislabel` of a share of random images. together: of as many in neighbourhoods by rows z (N, D), each
    given one cluster. The same each time.
    """
    scattered, *seeds = (torch.Generator().manual_seed(seed) for seed in (1, 2, 3, 4))
    which = torch.randperm(len(logits), generator=scattered)[:int(share * len(logits))]
    together, group = patches_of(z, share, seeds[0])
    return {OWN: logits, "scattered": mislabel(logits, which, seeds[1]),
            "together": mislabel(logits, together, seeds[2], group)}


def trust_scores(trusted: Tensor, right: Tensor) -> dict[str, float]:
    """Of a choice of labels, bool (N,), and which are right, bool (N,): precision, recall, share and found.

    precision: right ones among the trusted (1 if there are none). recall: trusted ones among the right. share: trusted
    ones among all. found: wrong ones that are not trusted, among the wrong (1 if there are none).
    """
    trusted, right = trusted.cpu(), right.cpu()

    def among(what: Tensor, of: Tensor) -> float:
        return float(what[of].float().mean()) if of.any() else 1.0

    return {"precision": among(right, trusted), "recall": among(trusted, right),
            "share": float(trusted.float().mean()), "found": among(~trusted, ~right)}


def calibration(confidence: Tensor, right: Tensor, bins: int = 10) -> dict[str, list[float] | float]:
    """How often predictions of a confidence (N,) in [0, 1] are right, bool (N,): in bins of equal width.

    confidence, accuracy: means of each bin that has predictions; share: how many of them. error: the expected
    calibration error, the mean of |accuracy - confidence| over bins, weighted by their share (Guo et al., ICML 2017,
    arXiv 1706.04599). over: mean confidence minus accuracy of all.
    """
    confidence, right = confidence.cpu().double(), right.cpu().double()
    place = (confidence * bins).long().clamp(0, bins - 1)
    counts = place.bincount(minlength=bins)
    used = counts > 0
    said, met = (torch.zeros(bins, dtype=torch.float64).index_add_(0, place, values)[used] / counts[used]
                 for values in (confidence, right))
    share = counts[used].double() / len(right)
    return {"confidence": said.tolist(), "accuracy": met.tolist(), "share": share.tolist(),
            "error": float((share * (met - said).abs()).sum()), "over": float(confidence.mean() - right.mean())}


class TrustTest:
    """Whom confidence, neighbours or both trust, where it is known which labels are wrong.

    clean(p, z, k, threshold) -> bool (N,), of probabilities (N, K) and embeddings (N, D). logits: `planted` ones, by
    kind. right: bool (N,) for each kind. spaces: name -> embedding (N, D) of length 1. Of planted kinds only images
    count whose own label is right.
    """

    criteria = ("confidence", "neighbours", "both")

    def __init__(self, clean: Callable[[Tensor, Tensor, int, float], Tensor], logits: Mapping[str, Tensor],
                 right: Mapping[str, Tensor], spaces: Mapping[str, Tensor]):
        self.clean, self.spaces, self.right = clean, spaces, right
        self.kinds = list(logits)
        self.counted = {kind: torch.ones_like(right[OWN]) if kind == OWN else right[OWN] for kind in logits}
        self.said = {kind: values.softmax(1) for kind, values in logits.items()}
        self._trusted: dict[tuple, Tensor] = {}

    def trusted(self, kind: str, criterion: str, space: str, k: int, threshold: float) -> Tensor:
        """Which labels of a kind pass a criterion, bool (N,); a question that does not ask for k or threshold ignores
        it.
        """
        asked = (kind, criterion, *{"confidence": (threshold,), "neighbours": (space, k)}.get(
            criterion, (space, k, threshold)))
        if asked not in self._trusted:
            p = self.said[kind]
            self._trusted[asked] = (p.amax(1) >= threshold if criterion == "confidence" else
                                    self.clean(p, self.spaces[space], k, threshold if criterion == "both" else 0.0))
        return self._trusted[asked]

    def scores(self, kind: str, criterion: str, space: str = "SCAN", k: int = 50, threshold: float = 0.9
               ) -> dict[str, float]:
        """`trust_scores` of a criterion, and "lost", its price: right labels that it gives up, among the right."""
        counted = self.counted[kind]
        found = trust_scores(self.trusted(kind, criterion, space, k, threshold)[counted], self.right[kind][counted])
        return {**found, "lost": 1 - found["recall"]}

    def each(self, kind: str, space: str = "SCAN", k: int = 50, threshold: float = 0.9) -> dict[str, dict[str, float]]:
        """Criterion -> `scores`."""
        return {name: self.scores(kind, name, space, k, threshold) for name in self.criteria}

    def curves(self, kind: str, space: str, k: int, thresholds: Sequence[float], ks: Sequence[int]
               ) -> dict[str, list[dict[str, float]]]:
        """Criterion -> `scores` as it grows strict: by thresholds, and of neighbours by their number."""
        strict = {name: [self.scores(kind, name, space, k, t) for t in thresholds] for name in ("confidence", "both")}
        alone = [self.scores(kind, "neighbours", space, n) for n in ks]
        return {"confidence": strict["confidence"], "neighbours": alone, "both": strict["both"]}

    def elsewhere(self, kind: str, space: str, k: int) -> dict[str, float]:
        """`scores` of the neighbours in the first embedding that is not `space`."""
        return self.scores(kind, "neighbours", next(name for name in self.spaces if name != space), k)

    def share_right(self, kind: str) -> float:
        """The share of right labels among those that count."""
        return float(self.right[kind][self.counted[kind]].float().mean())


def found_at(confidence: Tensor, right: Tensor, recall: float) -> float:
    """The share of wrong labels below the confidence (N,) that keeps a share `recall` of the right ones, bool (N,)."""
    return float((confidence[~right] < confidence[right].quantile(1 - recall)).float().mean())


def surest_and_least(clusters: Tensor, confidence: Tensor, right: Tensor, count: int = 4, each: int = 6
                     ) -> dict[int, tuple[Tensor, Tensor]]:
    """The clusters with the largest share of mistakes: cluster -> its surest images, and its least sure ones.

    clusters int64 (N,), confidence (N,), right bool (N,). Numbers of images, int64, at most `each`, the surest and the
    least sure first.
    """
    members = {int(c): (clusters == c).nonzero()[:, 0] for c in clusters.unique()}
    worst = sorted(members, key=lambda c: float(right[members[c]].float().mean()))[:count]
    return {c: (members[c][confidence[members[c]].argsort(descending=True)[:each]],
                members[c][confidence[members[c]].argsort()[:each]]) for c in worst}
