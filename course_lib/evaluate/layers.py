r"""What each layer of a network knows, read linearly: as in "A Critical Analysis of Self-Supervision, or What We Can
Learn from a Single Image", Asano, Rupprecht and Vedaldi, ICLR 2020, arXiv 1904.13132 (after Zhang et al., 2016).

Layers have different sizes: 32 maps of 16 x 16 numbers, 128 of 4 x 4. A reader with more numbers reads more, so each
map is max-pooled to a side at which every layer gives about the *same number of features*, the same for all that is
compared (about 9000 there). Then the probe of the course: logistic regression on standardised features, its penalty
picked on validation; the paper's is a batch norm without parameters and a linear layer, trained by SGD.

What other implementations get wrong: mean-pooled maps, so that first layers are read from 32 numbers; a probe whose
gradients reach the network; batch norm's statistics renewed while the probe learns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.data.images import ImageSet, Splits, draw
from course_lib.evaluate.features import evaluating, raw_pixels
from course_lib.evaluate.labels import ridge_scores
from course_lib.evaluate.measures import check_labels
from course_lib.evaluate.probes import linear_probe
from course_lib.models.backbones import ConvNet, ResNet
from course_lib.models.layers import ConvBackbone, check_maps


@dataclass(frozen=True)
class LayerScore:
    """How well layer `layer` (from 1) is read: `maps` maps pooled to `side` x `side`, accuracy on test, a fraction."""

    layer: int
    maps: int
    side: int
    features: int
    accuracy: float


def side_for(maps: int, side: int, features: int) -> int:
    """Pixels along a side to which so many maps of side x side are pooled, so that there are about `features`."""
    return min(side, max(1, round(math.sqrt(features / maps))))


def same_size(maps: Tensor, features: int) -> Tensor:
    """Maps (B, C, H, W) max-pooled to about `features` numbers for each image: (B, C * side * side)."""
    return F.adaptive_max_pool2d(maps, side_for(maps.shape[1], min(maps.shape[2:]), features)).flatten(1)


def layer_maps(backbone: nn.Module, images: Tensor) -> list[Tensor]:
    """Maps of all layers, first to last: after each ReLU of a ConvNet or ResNet, else its `stages`.

    images: normalised (B, 3, H, W). ValueError for a network without maps, such as a ViT.
    """
    if not isinstance(backbone, (ConvNet, ResNet)):
        check_maps(backbone, "a look at every layer")
        return backbone.stages(images)  # pyright: ignore[reportCallIssue]
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        found.append(output)

    hooks = [module.register_forward_hook(keep) for module in backbone.modules() if isinstance(module, nn.ReLU)]
    try:
        backbone(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def layer_features(backbone: nn.Module, images: ImageSet | Tensor, features: int = 1024,
                   batch_size: int = 256) -> list[Tensor]:
    """About `features` numbers of each layer for each image: float32 (N, F) on the CPU, a tensor for a layer.

    images: uint8 or in [0, 1], (N, 3, H, W). In evaluation mode, without gradients. ValueError for features below 1.
    """
    if features < 1:
        raise ValueError(f"features is {features}; expected a number from 1 up")
    images = images if isinstance(images, Tensor) else images.images
    parts = []
    with evaluating(backbone) as where:
        for part in images.split(batch_size):
            maps = layer_maps(backbone, standardize(part.to(where)))
            parts.append([same_size(each, features).float().cpu() for each in maps])
    return [torch.cat(layer) for layer in zip(*parts)]


def layer_probes(backbone: nn.Module, splits: Splits, features: int = 1024, limit: int | None = 5000,
                 seed: int = 0) -> list[LayerScore]:
    """A linear probe of every layer, with at most `limit` training images, drawn by the seed."""
    train = splits.train.select(draw(len(splits.train), limit, seed))
    parts = [(layer_features(backbone, part, features), check_labels(part.labels, len(part)))
             for part in (train, splits.validation, splits.test)]
    with evaluating(backbone) as where:
        maps = layer_maps(backbone, standardize(train.images[:1].to(where)))
    scores = []
    for number, shape in enumerate(each.shape for each in maps):
        pairs = [(layers[number], labels) for layers, labels in parts]
        found = linear_probe(pairs[0], pairs[1], pairs[2], seed=seed)
        scores.append(LayerScore(number + 1, shape[1], side_for(shape[1], min(shape[2:]), features),
                                 pairs[0][0].shape[1], found.accuracy))
    return scores


def probed_layers(backbone: nn.Module, targets: Mapping[str, Splits], features: int = 1024,
                  limit: int | None = 5000) -> dict[str, list[float]]:
    """Target -> the accuracies of `layer_probes`, first layer to last."""
    return {name: [score.accuracy for score in layer_probes(backbone, splits, features, limit)]
            for name, splits in targets.items()}


def probed_pixels(targets: Mapping[str, Splits], limit: int | None = 5000) -> dict[str, list[float]]:
    """The control of `probed_layers`, on the same images: raw pixels, as a single layer."""
    found = {}
    for name, splits in targets.items():
        train = splits.train.select(draw(len(splits.train), limit, 0))
        pairs = [(raw_pixels(part), check_labels(part.labels, len(part)))
                 for part in (train, splits.validation, splits.test)]
        found[name] = [linear_probe(*pairs).accuracy]
    return found


def ridge_layers(backbone: nn.Module, known: ImageSet, test: ImageSet, features: int = 1024) -> list[float]:
    """Test accuracy of ridge regression (`ridge_scores`) on every layer, for few labelled images."""
    layers = zip(*(layer_features(backbone, part, features) for part in (known, test)))
    labels, told = (check_labels(part.labels, len(part)) for part in (known, test))
    return [float((ridge_scores(bank, labels, queries).argmax(1) == told).float().mean()) for bank, queries in layers]


def absorbed(weight: Tensor, bias: Tensor | None, norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """A convolution's weight (C, I, k, k) and bias (C,) with the batch norm after it, as stored, in one.

    The layer's output is the same in evaluation mode; filters as pictures then have the contrast that they act with.
    ValueError for a norm without running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("the batch norm keeps no running statistics, so it cannot be put into a convolution")
    scale = (norm.running_var + norm.eps).rsqrt() * (norm.weight if norm.affine else 1.0)
    shift = norm.bias if norm.affine else torch.zeros_like(scale)
    before = torch.zeros_like(scale) if bias is None else bias
    return weight * scale.view(-1, 1, 1, 1), (before - norm.running_mean) * scale + shift


def smoothness(filters: Tensor) -> float:
    """How alike neighbouring weights are: filters (C, I, k, k) -> mean correlation with themselves one place on.

    Rows and columns; 0 for weights drawn alone, towards 1 for smooth blobs.
    """
    w = filters - filters.mean((1, 2, 3), keepdim=True)
    spread = w.square().mean((1, 2, 3))
    across, down = ((a * b).mean((1, 2, 3)) for a, b in ((w[..., 1:], w[..., :-1]), (w[..., 1:, :], w[..., :-1, :])))
    return float(((across + down) / (2 * spread)).mean())


class StageMean(nn.Module):
    """The mean over places of one stage's map: images (B, 3, H, W) -> (B, C)."""

    def __init__(self, backbone: ConvBackbone, stage: int):
        super().__init__()
        self.backbone, self.stage = backbone, stage

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.stages(images)[self.stage].mean((2, 3))
