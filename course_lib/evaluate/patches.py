"""What a network says about the places of an image: their vectors, colours, words, and counterparts elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.evaluate.attention import similarity
from course_lib.models.vit import ViT


def patch_vectors(network: nn.Module, images: Tensor, stage: int = -1) -> Tensor:
    """Normalised images (N, 3, S, S) -> (N, g * g, D) in reading order.

    A ViT's tokens behind its last norm, without the class token, or the map of one of a conv net's `stages`.
    ValueError for a network with neither.
    """
    if isinstance(network, ViT):
        return network.tokens(images)[:, 1:]
    stages = getattr(network, "stages", None)
    if stages is None:
        raise ValueError(f"{type(network).__name__} has no patches to look into; expected a ViT, or a conv net with "
                         "stages(images)")
    return stages(images)[stage].flatten(2).transpose(1, 2)


def component_colours(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(N, L, D) -> colours (N, L, 3) in [0, 1], and each one's share of the variance, (3,).

    The first three principal components of all N * L vectors are red, green and blue, each stretched so that 0 and 1
    are two deviations from the mean. The sign of a component is such that its largest weight is positive, so a picture
    is the same at every call. A component that hardly varies (a collapsed network) is stretched no further than to a
    thousandth of the vectors' length: grey. ValueError for D < 3.
    """
    if vectors.ndim != 3 or vectors.shape[-1] < 3:
        raise ValueError(f"vectors have shape {tuple(vectors.shape)}; expected (N, L, D) with D of 3 or more")
    rows = vectors.flatten(0, 1).double()
    centred = rows - rows.mean(0)
    variances, basis = torch.linalg.eigh(centred.T @ centred / len(rows))  # ascending
    basis = basis[:, -3:].flip(1)  # (D, 3)
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    scores = centred @ basis  # (N * L, 3)
    least = 1e-3 * rows.square().sum(1).mean().sqrt()
    colours = 0.5 + scores / (4 * torch.maximum(scores.square().mean(0).sqrt(), least).clamp_min(1e-12))
    shares = variances[-3:].flip(0).clamp_min(0) / variances.clamp_min(0).sum().clamp_min(1e-12)
    return colours.clamp(0, 1).view(*vectors.shape[:2], 3).float(), shares.float()


# ------------------------------------------------------------------------------------------------ words of patches
def shared_bits(words: Tensor, causes: Tensor, generator: torch.Generator) -> float:
    """What a word tells of a cause: mutual information in bits of two lists of integers (n,) from 0.

    Minus that of shuffled causes, which is what few counts pretend.
    """
    def joint(a: Tensor, b: Tensor) -> float:
        table = torch.zeros(int(a.max()) + 1, int(b.max()) + 1)
        table = table.index_put_((a, b), torch.ones(len(a)), accumulate=True) / len(a)
        inside, outside = (torch.special.entr(p).sum() for p in (table, table.sum(0)))
        return float(outside + torch.special.entr(table.sum(1)).sum() - inside) / math.log(2)

    return joint(words, causes) - joint(words, causes[torch.randperm(len(causes), generator=generator)])


def same_word(words: Tensor) -> dict[str, float]:
    """How often two patches share a word, (N, L) integers: two of one image, two at one place, any two."""
    found = F.one_hot(words).double()  # (N, L, words)
    counts = {"one image": found.sum(1), "one place": found.sum(0), "any two": found.sum((0, 1))}
    return {name: float((n * (n - 1)).sum() / (n.sum(-1) * (n.sum(-1) - 1)).sum()) for name, n in counts.items()}


# ------------------------------------------------------------------------------------------------ counterparts
def counterparts(first: Tensor, second: Tensor, covered: Tensor, shift: tuple[int, int], slack: int = 1) -> Tensor:
    """Where patches of an image are found in another one in which the object has moved: (n, 5) int64.

    first, second (g * g, D): features; covered (g * g,) bool: patches of the first that are asked, less those that the
    shift (rows, columns) moves out of the image. A row is a patch's row and column, those of the most similar patch of
    the second image, and 1 if that is at most `slack` away from the right one, else 0.
    """
    side = math.isqrt(len(first))
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    goal, best = place + torch.tensor(shift), place[similarity(first, second).argmax(1)]
    right = (best - goal).abs().amax(1) <= slack
    return torch.cat([place, best, right[:, None].long()], 1)[covered & (goal >= 0).all(1) & (goal < side).all(1)]


def guessed_counterparts(pairs: list[Tensor], slack: int) -> tuple[float, float]:
    """How often guesses would be right: any patch of the object, and always its middle patch; shares, mean of pairs.

    pairs: of `counterparts`, whose first two columns are the object's patches; right: at most `slack` away.
    """
    def right(places: Tensor, guesses: Tensor) -> float:
        return float(((places[:, None] - guesses[None]).abs().amax(-1) <= slack).double().mean())

    places = [found[:, :2].double() for found in pairs]
    return (sum(right(p, p) for p in places) / len(places),
            sum(right(p, p.mean(0, keepdim=True).round()) for p in places) / len(places))
