r"""Feature lenses: small modules that undo a transformation in the features of a trained network. Li, Sui, Fu, Liu and
Goh, 2020, arXiv 2004.05554.

A trained network F, the host, is frozen. For each kind of transformation T_t (turning, scaling, light) a lens L_t is
plugged in after a layer, here after the last map, and learns without labels to give back what the host says of the
picture as it was:

    L_t(F(T_t x)) ~ F(x)

Plain squared error is ruled by zeros: after a ReLU most activations of F(x) are 0, and it is the few strong ones that
tell pictures apart. The paper's "top-K activation contrast loss" looks at these. Its exact form is not public, so the
loss here is a SUBSTITUTE with the same aim, not the paper's: with h = F(x), p = L_t(F(T_t x)) and S the places of the K
largest of the M activations of h,

    L = mean over S of (p - h)^2  +  w * mean over the others of max(0, p - min over S of h)

what is strong must be as strong again, and nothing else may rise above it. How lenses are put together is recalled, not
looked up: here a gate, a linear layer on the mean of the map (standardised), learns which transformation a picture went
through ("none" among them), and weighs the lenses' maps; or they are averaged.

What implementations get wrong: batch norm of the host in training mode, or its weights among the optimizer's, so that
the host itself moves; a turned or scaled picture compared place by place, though its map is turned, too (here the map
is turned and scaled back first). No official code is known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.colour import adjust_brightness
from course_lib.augment.geometry import affine
from course_lib.augment.pixels import check_images, standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.models.backbones import mean_of_positions
from course_lib.models.batch_norm import BatchNorm1d, BatchNorm2d
from course_lib.models.layers import ConvBackbone, check_maps
from course_lib.precision import at_least_float32, in_float32

KINDS = ("turn", "scale", "light")


@in_float32
def top_k_contrast(predicted: Tensor, target: Tensor, k: int, weight: float = 1.0) -> dict[str, Tensor]:
    """The substitute for the paper's loss, of activations (B, ...) -> scalars "loss", "match" and "above".

    k: how many of an image's activations are its strongest; weight: of the hinge. The target is a constant. ValueError
    for shapes that differ or a k out of range.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"predicted is {tuple(predicted.shape)} and target {tuple(target.shape)}; expected the same")
    predicted, target = predicted.flatten(1), target.detach().flatten(1)  # (B, M)
    if not 1 <= k <= target.shape[1]:
        raise ValueError(f"k is {k}; expected 1 to {target.shape[1]}, the number of an image's activations")
    strongest, where = target.topk(k, dim=1)  # (B, k), largest first
    match = (predicted.gather(1, where) - strongest).square().mean()
    excess = (predicted - strongest[:, -1:]).clamp(min=0).scatter(1, where, 0.0)  # (B, M), 0 at the strongest
    above = excess.sum(1).mean() / max(1, target.shape[1] - k)
    return {"loss": match + weight * above, "match": match, "above": above}


def transformed(images: Tensor, kind: str, generator: torch.Generator, turn: float, scale: tuple[float, float],
                light: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 3, H, W) in [0, 1], each transformed by its own draw -> (images, degrees (B,), zoom (B,))."""
    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(len(images), generator=generator, device=generator.device)
        return (low + (high - low) * draw).to(images.device)

    degrees, zoom = torch.zeros(len(images), device=images.device), torch.ones(len(images), device=images.device)
    if kind == "light":
        return adjust_brightness(images, uniform(*light)), degrees, zoom
    degrees, zoom = (uniform(-turn, turn), zoom) if kind == "turn" else (degrees, uniform(*scale))
    return affine(images, degrees, degrees.new_zeros(len(images), 2), zoom), degrees, zoom


def turned_back(maps: Tensor, degrees: Tensor, zoom: Tensor) -> Tensor:
    """Maps (B, C, h, w) of pictures turned by `degrees` and scaled by `zoom`, (B,) each, as those before would lie."""
    return affine(at_least_float32(maps), -degrees, degrees.new_zeros(len(degrees), 2), 1 / zoom)


class Lens(nn.Module):
    """A map (B, C, h, w) after a ReLU -> the corrected map. It starts as the identity: its last layer is zero."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.change = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), BatchNorm2d(width), nn.ReLU(),
                                    nn.Conv2d(width, channels, 3, padding=1))
        for parameter in self.change[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.change(maps))


class Lenses(Method):
    """The method over a *trained* convolutional backbone, the host, which stays as it is; `embed` looks through lenses.

    Give the host's weights: `--weights FOLDER/backbone.pt` on the command line, in Python `load_backbone(path,
    method.backbone)`; over random weights the lenses learn to correct noise. kinds: the transformations that get a
    lens. width: channels inside of a lens. top: K as a share of the map's activations; about as many are above 0 after
    a ReLU, and with far fewer (0.1) the others drift below the weakest of the strong, and what they told is lost.
    weight: of the hinge. contrast: False for plain squared error. undo: maps of turned and scaled pictures are turned
    and scaled back before they are compared. combine: "gate" or "average". turn: degrees either way; scale, light: zoom
    and brightness between these. What is exported is the host; the lenses are in last.pt. recipe and sizes: chosen
    here.
    """

    title = "Feature Lenses"
    week = 11
    needs = ("trained network",)
    recipe = {"lr": 2e-3, "batch_size": 128}
    explored = ("lenses", "gate")
    backbone: ConvBackbone

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, kinds: tuple[str, ...] = KINDS, width: int = 64,
                 top: float = 0.5, weight: float = 1.0, contrast: bool = True, undo: bool = True,
                 combine: str = "gate", turn: float = 180.0, scale: tuple[float, float] = (0.6, 1.4),
                 light: tuple[float, float] = (0.4, 1.6), augment: Augment | None = None):
        super().__init__()
        check_maps(backbone, self.title)
        kinds = tuple(kinds.split(",")) if isinstance(kinds, str) else tuple(kinds)  # --set kinds=turn,light
        if wrong := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"kinds has {wrong[0]!r}; expected some of {', '.join(KINDS)}")
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"kinds is {kinds!r}; expected one or more of {', '.join(KINDS)}, each once")
        if not 0 < top <= 1:
            raise ValueError(f"top is {top}; expected a share of the activations, above 0 and at most 1")
        if combine not in ("gate", "average"):
            raise ValueError(f"combine is {combine!r}; expected 'gate' or 'average'")
        self.backbone = backbone.requires_grad_(False).eval()
        self.lenses = nn.ModuleDict({kind: Lens(backbone.dim, width) for kind in kinds})
        gate = nn.Sequential(BatchNorm1d(backbone.dim, affine=False), nn.Linear(backbone.dim, 1 + len(kinds)))
        self.gate = gate if combine == "gate" else None
        self.top, self.weight, self.contrast, self.undo = top, weight, contrast, undo
        self.draws = {"turn": turn, "scale": scale, "light": light}
        self.augment = augment or Augment(image_size, scale=(0.8, 1.0), jitter_p=0.0, gray_p=0.0)

    def train(self, mode: bool = True) -> Lenses:
        super().train(mode)
        self.backbone.eval()  # frozen: in training mode its batch norms would move
        return self

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
        """The pictures as they are, and for each lens (transformed pictures, degrees, zoom)."""
        images = self.augment(batch.images, generator)
        return images, [transformed(images, kind, generator, **self.draws) for kind in self.lenses]

    @torch.no_grad()
    def maps(self, images: Tensor) -> Tensor:
        """The host's last map (B, dim, h, w) of images in [0, 1]."""
        return self.backbone.stages(standardize(images))[-1]

    def loss(self, views: tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]], progress: float = 0.0) -> dict[str, Any]:
        images, changed = views
        wanted = self.maps(images)  # (B, dim, h, w)
        parts, pooled = {}, [mean_of_positions(wanted)]
        for (kind, lens), (pictures, degrees, zoom) in zip(self.lenses.items(), changed):
            found = self.maps(pictures)
            pooled.append(mean_of_positions(found))
            seen = lens(found)
            if self.undo and kind != "light":
                seen = turned_back(seen, degrees, zoom)
            parts[kind] = self.distance(seen, wanted)
        total = sum(parts.values())
        if self.gate is not None:
            kinds = torch.arange(len(pooled), device=wanted.device).repeat_interleave(len(images))
            parts["gate"] = F.cross_entropy(at_least_float32(self.gate(torch.cat(pooled))), kinds)  # which was it?
            total = total + parts["gate"]
        return {"loss": total, **parts, "views_per_image": len(pooled)}

    def distance(self, seen: Tensor, wanted: Tensor) -> Tensor:
        """How far maps (B, dim, h, w) are from the wanted ones: a scalar."""
        if not self.contrast:
            return (at_least_float32(seen) - wanted).square().mean()
        k = max(1, round(self.top * wanted[0].numel()))
        return top_k_contrast(seen, wanted, k, self.weight)["loss"]

    def corrected(self, maps: Tensor) -> Tensor:
        """The host's maps (B, dim, h, w), seen through the lenses, weighed by the gate or averaged."""
        through = torch.stack([maps, *(lens(maps) for lens in self.lenses.values())], 1)  # (B, 1 + lenses, dim, h, w)
        if self.gate is None:
            return through[:, 1:].mean(1)
        shares = self.gate(mean_of_positions(maps)).softmax(1)  # (B, 1 + lenses)
        return (shares[:, :, None, None, None] * through).sum(1)

    def embed(self, images: Tensor) -> Tensor:
        return mean_of_positions(self.corrected(self.maps(check_images(images))))
