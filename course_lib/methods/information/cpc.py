r"""CPC v2: contrastive predictive coding on patches. Hénaff et al., ICML 2020, arXiv 1905.09272; v1: 1807.03748.

A picture is cut into a grid of overlapping patches, each encoded alone: z_rc. A context network looks at rows 0 .. r
only, c_rc, and a linear map for each distance k predicts the patch k rows below. Targets are linear maps of z:

    p_rc = 0.1 W_k c_rc,    t = V z
    L_k = mean over b, r, c of  -log( exp(p_brc . t_b,r+k,c) / sum over t of exp(p_brc . t) )

over all patches t of all images. With patches numbered image by image and row by row, the right one is

    label(b, r, c) = b H W + (r + k) W + c

A network that tells nothing apart has L_k = log(B H W). The paper's pseudocode has k = 3 alone; with several, their
losses are added. The grid turned by quarters gives four directions, each with networks of its own.

What other implementations get wrong: height and width swapped in the label (the loss then stays at log(B H W));
targets taken from the context, which has seen them; batch norm in the encoder, whose statistics tell which patches
belong together (here layer norm: the backbone's option norm); one colour for all patches of a picture, by which they
know each other (`patch_augment` recolours each by itself); and in Lightning-Bolts (there is no official training code)
one W for all distances, a sum in which distance k counts k - 1 times, and a context network that pads columns after
they were convolved, so that the outer ones see themselves alone. The paper's own augmentations of single patches are
not known here; that it has four directions is recalled, not looked up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import check_images, standardize, to_float
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.collectives import gather
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.information.amdim import amdim_view
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive, in_float32

CROPS = Augment(scale=(0.8, 1.0), jitter_p=0.0, gray_p=0.0)


# ------------------------------------------------------------------------------------------------ patches and labels
def cut(images: Tensor, patch: int, step: int) -> Tensor:
    """(B, 3, S, S) -> overlapping patches (B, h, w, 3, patch, patch), one every `step` pixels.

    ValueError where they do not fit the picture.
    """
    size = images.shape[-1]
    if not 1 <= step <= patch <= size or (size - patch) % step:
        raise ValueError(f"patches of {patch} pixels, one every {step}, do not fit a picture of {size}: expected a "
                         f"step from 1 to the patch, a patch up to {size}, and {size} - patch a multiple of the step; "
                         "a quarter of the side every eighth fits where the side is a multiple of 8")
    return images.unfold(2, patch, step).unfold(3, patch, step).permute(0, 2, 3, 1, 4, 5)


def labels_below(images: int, height: int, width: int, rows: int) -> Tensor:
    """Of every patch that has one `rows` rows below it, that one's number: int64 (images * (height - rows) * width,).

    Patches are numbered image by image, row by row: the b H W + (r + k) W + c of the formula, written as a count.
    """
    return torch.arange(images * height * width).view(images, height, width)[:, rows:].flatten()


def by_patch(maps: Tensor) -> Tensor:
    """(B, d, h, w) -> one vector a row, image by image, row by row: (B * h * w, d)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


@in_float32
def cpc_loss(predictions: Tensor, targets: Tensor, rows: int, scale: float = 0.1) -> dict[str, Tensor]:
    """Predictions of what is `rows` rows below, and targets, (B, d, h, w) each -> "loss" and "accuracy".

    Among all patches of all ranks' images. ValueError for a grid of too few rows.
    """
    predictions, targets = gather(predictions), gather(targets)
    b, _, height, width = targets.shape
    if not 1 <= rows < height:
        raise ValueError(f"rows is {rows}; expected 1 to {height - 1}: the grid has {height} rows of patches")
    logits = by_patch(predictions[:, :, :-rows]) * scale @ by_patch(targets).T  # (b (h - rows) w, b h w)
    labels = labels_below(b, height, width, rows).to(logits.device)
    return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).to(logits.dtype).mean()}


# ------------------------------------------------------------------------------------------------ the networks
class ContextNet(nn.Module):
    """A map z (B, D, h, w) -> contexts, of the same shape, of which row r sees rows 0 .. r: a small PixelCNN.

    Residual blocks: 1x1, 1x3, one row of padding on top, 2x1, 1x1. bolts=True is Lightning-Bolts' network, as described
    above, whose padding on top is 1 in place of 0.
    """

    def __init__(self, width: int, hidden: int = 256, blocks: int = 5, bolts: bool = False):
        super().__init__()
        before, after = (0, 1) if bolts else (1, 0)  # columns of padding of the two convolutions
        self.blocks = nn.ModuleList(nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.ReLU(),
            nn.Conv2d(hidden, hidden, (1, 3), padding=(0, before)), nn.ConstantPad2d((0, 0, 1, 0), float(bolts)),
            nn.Conv2d(hidden, hidden, (2, 1), padding=(0, after)), nn.ReLU(),
            nn.Conv2d(hidden, width, 1)) for _ in range(blocks))

    def forward(self, z: Tensor) -> Tensor:
        for block in self.blocks:
            z = z + block(z)
        return z.relu()


class Predictor(nn.Module):
    """What predicts in one direction: a map z (B, D, h, w) -> its targets, and predictions for each distance."""

    def __init__(self, width: int, out: int, hidden: int, blocks: int, distances: int):
        super().__init__()
        self.context = ContextNet(width, hidden, blocks)
        self.target = nn.Conv2d(width, out, 1)
        self.predict = nn.ModuleList(nn.Conv2d(width, out, 1) for _ in range(distances))

    def forward(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        context = self.context(z)
        return self.target(z), [predict(context) for predict in self.predict]


class CPC(Method):
    """The method over any backbone that can take a patch; an image's representation is the mean of its patches'.

    patch, step: pixels (a quarter and an eighth of the picture: 7x7 patches). rows: how far below, such as 3 or 1,2,3.
    directions: 1 (downwards) to 4. out: width of the predictions (64). hidden, blocks: of the context networks (256 and
    5). scale: of the scores (0.1). augment: of the picture, before it is cut. patch_augment: then each patch is
    recoloured by itself, as strongly as in `SHAPES_VIEWS`. A convnet or resnet that is asked for by name gets layer
    norms. recipe: for short runs.
    """

    title = "CPC v2"
    week = 24
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "batch_size": 32}
    convnet_options = {"norm": "layer"}
    resnet_options = {"norm": "layer"}
    shapes_options = {"augment": CROPS, "patch_augment": True}
    explored = ("predictors",)

    def __init__(self, backbone: Backbone, image_size: int = 32, patch: int | None = None, step: int | None = None,
                 rows: int | tuple[int, ...] = (3,), directions: int = 4, out: int = 64, hidden: int = 64,
                 blocks: int = 5, scale: float = 0.1, augment: Augment | None = None, patch_augment: bool = False):
        super().__init__()
        self.patch = patch or max(1, image_size // 4)
        self.step = step or max(1, self.patch // 2)
        self.rows = (rows,) if isinstance(rows, int) else tuple(rows)
        height = cut(torch.empty(1, 3, image_size, image_size), self.patch, self.step).shape[1]
        if not self.rows or not all(isinstance(k, int) and 1 <= k < height for k in self.rows):
            raise ValueError(f"rows is {rows}; expected distances from 1 to {height - 1}, such as 3 or 1,2,3: the grid "
                             f"has {height} rows of patches")
        if directions not in (1, 2, 3, 4):
            raise ValueError(f"directions is {directions}; expected 1 (downwards) to 4")
        check_positive("scale", scale)
        self.backbone, self.scale = backbone, scale
        self.predictors = nn.ModuleList(Predictor(backbone.dim, out, hidden, blocks, len(self.rows))
                                        for _ in range(directions))
        self.augment = augment or amdim_view(image_size)
        self.recolour = replace(SHAPES_VIEWS, size=self.patch, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
        self.patch_augment = patch_augment

    def views(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The patches of one view of each image: (B, h, w, 3, patch, patch)."""
        patches = cut(self.augment(batch.images, generator), self.patch, self.step)
        if not self.patch_augment:
            return patches
        return self.recolour(patches.flatten(0, 2), generator).unflatten(0, patches.shape[:3])

    def encode(self, patches: Tensor) -> Tensor:
        """Patches (B, h, w, 3, patch, patch) -> a map of their vectors, (B, D, h, w)."""
        return self.backbone(standardize(patches).flatten(0, 2)).unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)

    def embed(self, images: Tensor) -> Tensor:
        return self.encode(cut(to_float(check_images(images)), self.patch, self.step)).mean((2, 3))

    def loss(self, views: Tensor, progress: float = 0.0) -> dict[str, Any]:
        z = self.encode(views)
        found = []
        for quarter, predictor in enumerate(self.predictors):
            targets, predictions = predictor(z.rot90(quarter, (2, 3)))
            found += [cpc_loss(p, targets, k, self.scale) for p, k in zip(predictions, self.rows)]
        means = {name: torch.stack([part[name] for part in found]).mean() for name in ("loss", "accuracy")}
        return {**means, "loss": means["loss"] * len(self.rows), "embedding": normalize(z.detach().mean((2, 3))),
                "views_per_image": 1}
