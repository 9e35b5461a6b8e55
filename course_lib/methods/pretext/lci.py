r"""LCI: beyond local pixel statistics. Jenni, Jin and Favaro, CVPR 2020, arXiv 2004.02331; official: sjenni/LCI.

Transformations after which every small patch still looks like a patch of a picture, so that only the whole gives them
away. A network is to say which was done, T_k:

    L = mean over the images and k of  -log softmax( h(f(T_k(x))) )_k

T_0 to T_3 are the four turns of RotNet, T_4 is a warp. With these five, `LCI`. T_5, limited-context inpainting, is in
`FilledLCI`: the middle of a square patch is erased, and an autoencoder G, which sees the patch's border of a few pixels
alone, fills it. G learns against a discriminator D of pairs of patches, and against the network itself:

    L_D = mean of max(0, 1 - D(p)) + mean of max(0, 1 + D(G(erased p)))
    L_G = - mean of D(G(erased p)) + 50 |G(erased p) - p|^2 on the border + 50 |G(p) - p|^2 - L

What is easily overlooked: a transformation's own traces must be in the others, too, or they are the answer. A warp
resamples, which blurs; so the untouched and the turned are resampled as well, by a shift of less than a pixel. A filled
hole has the traces of the decoder; so half of the untouched, and of the turned made of them, carry a patch that went
through the same autoencoder whole, G(p).

Not here: the official code turns half of each class by up to 0.07 pi more, and crops, so that a hole is harder to find.
Its patches have 48 of 80 pixels and a border of 3; G and D learn by Adam, 2e-4 and 8e-4, the network by 3e-4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from course_lib.augment.geometry import affine, warp
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.pretext.rotation import Rotation, four_turns, rotation_loss
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import Backbone, normalize
from course_lib.optim import Group, parameter_groups
from course_lib.precision import in_float32

WARPED, FILLED = 4, 5  # the classes
NOISE = 0.1  # deviation of what an erased place holds, for pixels in [-1, 1]
PIXELS = 50.0  # weight of the squared errors


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, S, S), each shifted by up to half a pixel either way: resampled, and not bent."""
    shift = (torch.rand(len(images), 2, generator=generator, device=generator.device) - 0.5).to(images)
    return affine(images, torch.zeros_like(shift[:, 0]), shift, torch.ones_like(shift[:, 0]))


def bent(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, S, S), each warped by 16 control points that move by up to a sixteenth of the side."""
    most = images.shape[-1] / 16
    draws = torch.rand(len(images), 2, 4, 4, generator=generator, device=generator.device).to(images)
    return warp(images, most * (2 * draws - 1))


# ------------------------------------------------------------------------------------------------ a filled hole
def _places(corners: Tensor, side: int) -> tuple[Tensor, slice, Tensor, Tensor]:
    """Which pixels of images (B, C, S, S) are in patches with these corners: an index, whose result is (B, P, P, C)."""
    steps = torch.arange(side, device=corners.device)
    rows, columns = corners[:, 0, None] + steps, corners[:, 1, None] + steps  # (B, P)
    images = torch.arange(len(corners), device=corners.device)
    return images[:, None, None], slice(None), rows[:, :, None], columns[:, None, :]


def patches_at(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Of each image (B, C, S, S) the patch whose top and left are its row of corners, int64 (B, 2): (B, C, P, P)."""
    return images[_places(corners, side)].permute(0, 3, 1, 2)


def pasted(images: Tensor, patches: Tensor, corners: Tensor) -> Tensor:
    """Images (B, C, S, S) with patches (B, C, P, P) at their corners (B, 2); gradients go to the patches."""
    made = images.clone()
    made[_places(corners, patches.shape[-1])] = patches.permute(0, 2, 3, 1).to(images.dtype)
    return made


def border_mask(side: int, border: int) -> Tensor:
    """Which pixels of a patch are visible: bool (side, side), True in a frame `border` wide. ValueError for no hole."""
    if border < 1 or 2 * border >= side:
        raise ValueError(f"border is {border} in a patch of {side} pixels; expected 1 or more, and a hole inside it")
    visible = torch.ones(side, side, dtype=torch.bool)
    visible[border:-border, border:-border] = False
    return visible


def paired(patches: Tensor) -> Tensor:
    """Patches (B, C, P, P) -> (B // 2, 2C, P, P): image n over image n + B // 2, which the discriminator judges as one.

    The last of an odd number is left out. ValueError for a single patch.
    """
    if (half := len(patches) // 2) < 1:
        raise ValueError("1 patch; expected two or more, of which the discriminator sees pairs")
    return torch.cat([patches[:half], patches[half: 2 * half]], 1)


@in_float32
def discriminator_loss(real: Tensor, filled: Tensor) -> Tensor:
    """The hinge loss of scores (M,) of true patches and of filled ones: scalar."""
    return F.relu(1 - real).mean() + F.relu(1 + filled).mean()


@in_float32
def inpainter_losses(scores: Tensor, filled: Tensor, whole: Tensor, patches: Tensor,
                     visible: Tensor) -> dict[str, Tensor]:
    """What G learns from D's scores (M,) and pixels: filled and whole, G of the erased and of the true patches.

    filled, whole, patches (B, C, P, P), visible bool (P, P) -> "fooled", "border" and "whole", scalars without weights.
    """
    return {"fooled": -scores.mean(), "border": (filled - patches)[..., visible].square().mean(),
            "whole": (whole - patches).square().mean()}


def reversed_gradient(x: Tensor) -> Tensor:
    """x, with minus its gradient: what follows learns to lower the loss, what comes before to raise it."""
    return 2 * x.detach() - x


class Inpainter(nn.Sequential):
    """G: patches (B, 3, P, P) in [-1, 1] -> the same, by way of maps of a quarter of the side; P a multiple of 4."""

    def __init__(self, width: int = 24):
        w, blocks = width, []
        for layer, to in ((nn.Conv2d(w, 2 * w, 4, 2, 1), 2 * w), (nn.Conv2d(2 * w, 4 * w, 4, 2, 1), 4 * w),
                          (nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1), 2 * w),
                          (nn.ConvTranspose2d(2 * w, w, 4, 2, 1), w)):
            blocks += [layer, BatchNorm2d(to), nn.LeakyReLU(0.1)]
        super().__init__(nn.Conv2d(3, w, 3, 1, 1), nn.LeakyReLU(0.1), *blocks, nn.Conv2d(w, 3, 3, 1, 1), nn.Tanh())


class SpectralConv2d(nn.Conv2d):
    """A convolution whose filters, as a matrix (out, in * k * k), are divided by its largest singular value.

    Found anew at each use; the official code follows it by a step of power iteration.
    """

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d gives it
        weight = self.weight / torch.linalg.matrix_norm(self.weight.flatten(1), 2)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class Discriminator(nn.Module):
    """D: pairs of patches (M, 6, P, P) in [-1, 1] -> scores (M,), high for true ones."""

    def __init__(self, width: int = 24):
        super().__init__()
        w, layers = width, []
        for before, to, side, stride in ((6, w, 3, 1), (w, w, 4, 2), (w, 2 * w, 3, 1), (2 * w, 2 * w, 4, 2),
                                         (2 * w, 4 * w, 3, 1)):
            layers += [SpectralConv2d(before, to, side, stride, 1), nn.LeakyReLU(0.1)]
        self.maps, self.score = nn.Sequential(*layers), SpectralConv2d(4 * w, 1, 1)

    def forward(self, pairs: Tensor) -> Tensor:
        return self.score(self.maps(pairs).sum((2, 3), keepdim=True)).flatten()


# ------------------------------------------------------------------------------------------------ the methods
class LCI(Rotation):
    """RotNet with a fifth class, warped.

    resampled: False as a control, in which warped pictures alone are resampled.
    """

    title = "LCI"
    classes = WARPED + 1

    def __init__(self, backbone: Backbone, image_size: int = 32, augment: Augment | None = None,
                 resampled: bool = True):
        super().__init__(backbone, image_size, augment)
        self.head, self.resampled = nn.Linear(backbone.dim, self.classes), resampled

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        """A view of each image turned four ways, then warped (5B, 3, S, S), and which it is, int64 (5B,)."""
        view = self.augment(batch.images, generator)
        turned, quarters = four_turns(shifted(view, generator) if self.resampled else view)
        return torch.cat([turned, bent(view, generator)]), torch.cat([quarters, torch.full_like(quarters[:len(view)],
                                                                                               WARPED)])

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict[str, Any]:
        images, classes = views
        features = self.backbone(standardize(images))
        embedding = normalize(features.detach()[:len(images) // self.classes])
        return {**rotation_loss(self.head(features), classes), "embedding": embedding, "views_per_image": self.classes}


class FilledLCI(LCI):
    """LCI with the paper's sixth class: the middle of a patch, filled from its border.

    decoded: False as a control, in which no untouched picture went through the autoencoder. side, border: pixels of the
    patch, a multiple of 4, and of what is seen of it. width: of the autoencoder's and the discriminator's first maps.
    """

    title = "LCI, filled"
    classes = FILLED + 1

    def __init__(self, backbone: Backbone, image_size: int = 32, augment: Augment | None = None,
                 resampled: bool = True, decoded: bool = True, side: int = 20, border: int = 2, width: int = 24):
        super().__init__(backbone, image_size, augment, resampled)
        if side % 4 or side > image_size:
            raise ValueError(f"side is {side} for images of {image_size} pixels; expected a multiple of 4, as many at "
                             "most")
        self.decoded, self.side = decoded, side
        self.inpainter, self.discriminator = Inpainter(width), Discriminator(width)
        self.visible: Tensor
        self.register_buffer("visible", border_mask(side, border), persistent=False)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Upright (B, 3, S, S), warped, corners of patches int64 (B, 2), and what their holes hold (B, 3, P, P)."""
        view, where = self.augment(batch.images, generator), generator.device
        upright = shifted(view, generator) if self.resampled else view
        corners = torch.randint(view.shape[-1] - self.side + 1, (len(view), 2), generator=generator, device=where)
        noise = torch.randn(len(view), 3, self.side, self.side, generator=generator, device=where)
        return upright, bent(view, generator), corners.to(view.device), NOISE * noise.to(view)

    def filled(self, upright: Tensor, corners: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches of images in [0, 1], in [-1, 1]: as they are, through G, and filled in by G, (B, 3, P, P) each."""
        patches = 2 * patches_at(upright, corners, self.side) - 1
        seen = torch.where(self.visible, patches, noise)
        whole, made = self.inpainter(torch.cat([patches, seen])).chunk(2)
        return patches, whole, made

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict[str, Any]:
        upright, warped, corners, noise = views
        patches, whole, made = self.filled(upright, corners, noise)
        through, hole = (pasted(upright, reversed_gradient((patch + 1) / 2), corners) for patch in (whole, made))
        half = len(upright) // 2
        untouched = torch.cat([upright[:half], through[half:]]) if self.decoded else upright
        images = torch.cat([four_turns(untouched)[0], warped, hole])
        classes = torch.arange(self.classes, device=images.device).repeat_interleave(len(upright))
        parts = super().loss((images, classes), progress)
        judge, frozen = self.discriminator, {n: p.detach() for n, p in self.discriminator.named_parameters()}
        fooled = functional_call(judge, frozen, paired(made))  # no gradient to the discriminator here
        learned = inpainter_losses(fooled, made, whole, patches, self.visible)
        told = discriminator_loss(judge(paired(patches)), judge(paired(made.detach())))
        total = parts["loss"] + learned["fooled"] + PIXELS * (learned["border"] + learned["whole"]) + told
        return parts | learned | {"loss": total, "named": parts["loss"].detach(), "discriminator": told.detach()}

    def param_groups(self, weight_decay: float) -> list[Group]:
        """As in the official code: Adam with another momentum for G and D, at other rates, without weight decay."""
        groups = [group for part in (self.backbone, self.head) for group in parameter_groups(part, weight_decay)]
        for player, scale in ((self.inpainter, 2 / 3), (self.discriminator, 8 / 3)):
            groups.append(Group(params=list(player.parameters()), weight_decay=0.0, adapt=False, lr_scale=scale,
                                betas=(0.5, 0.999)))
        return groups
