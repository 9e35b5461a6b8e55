r"""DIM, Deep InfoMax: information of an image and its representation. Hjelm et al., ICLR 2019, arXiv 1808.06670.

One view of an image x. The encoder E gives a map, C_l(x) at place l, and a code E(x). Two critics score pairs of
images n and k by inner products of what small networks make of them: u_nkl = <g(E(x_n)), h(C_l(x_k))> for the code and
a place, u_nk = <g'(E(x_n)), h'(C(x_k))> for the code and the whole map. With an estimator I of mutual information:

    L = - alpha I(x; E(x))  -  beta (mean over l of I(C_l(x); E(x)))  +  gamma D
        global                 local                                     prior

JSD, the official default: I = mean of [log 2 - softplus(-u)] over n = k  -  mean of [softplus(u) - log 2] over n != k.
InfoNCE: each place of the own map against the places of all other images. Donsker-Varadhan and the other divergences
are those of estimators.py. D pulls codes towards a uniform prior by a GAN: a discriminator tells sigmoid(E(x)) from
uniform draws, and the encoder has the non-saturating loss -log D(sigmoid(E(x))). In the paper DIM(L) is alpha 0, beta
1, gamma 0.1, and DIM(G) is alpha 1, beta 0, gamma 1 (weights recalled, not confirmed). The official code
(rdevon/DIM) augments nothing unless asked; there "KL" is what is called nwj here.

What other implementations get wrong, the official code among them: places of the own image masked in InfoNCE by a score
of -10, which still adds e^-10 for each, and is a harder rival than any score below it (the option `own`; here they are
left out); the mask of Donsker-Varadhan, which broadcasts over places (see estimators.py); "X2", both of whose terms
grow without bound; the sum over all places of the own image in the denominator.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.collectives import gather, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.information.amdim import nce
from course_lib.methods.information.estimators import DIVERGENCES, donsker_varadhan, f_divergence
from course_lib.models.backbones import mean_of_positions
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import MLP, ConvBackbone, check_maps, normalize
from course_lib.precision import at_least_float32, check_positive, check_several, in_float32

ESTIMATORS = ("infonce", "dv", *DIVERGENCES)


# ------------------------------------------------------------------------------------------------ the loss
def pair_scores(places: Tensor, codes: Tensor) -> Tensor:
    """Places (N, d, L) and codes (N, d, M) -> u (N, N, L, M): code m of image n with place l of image k, at [n, k]."""
    return torch.einsum("ndm,kdl->nklm", codes, places)


def infonce_loss(scores: Tensor, own: float = -math.inf) -> Tensor:
    """u (N, N, L, M) -> scalar: each place of the own image against all places of the others, for each code.

    own: the score at which the own image's L places join the rivals; -10 in the official code, nowhere here.
    """
    n, _, places, codes = scores.shape
    rows = scores.permute(0, 3, 1, 2).reshape(n * codes, n * places)  # code by code; image by image
    same = torch.eye(n, dtype=torch.bool, device=scores.device)
    same = same.repeat_interleave(codes, 0).repeat_interleave(places, 1)
    masked = rows.new_full((len(rows), 1), own + math.log(places))  # all L of them at once
    never = torch.zeros_like(same[:, :1])
    return nce(torch.cat([rows, masked], 1), torch.cat([same, never], 1), torch.cat([~same, ~never], 1))


@in_float32
def information_loss(places: Tensor, codes: Tensor, estimator: str = "jsd", own: float = -math.inf) -> Tensor:
    """Minus the information of places (N, d, L) and codes (N, d, M) of all ranks' images -> scalar.

    estimator: one of ESTIMATORS. own: see `infonce_loss`. ValueError for an unknown estimator.
    """
    check_estimator(estimator)
    scores = pair_scores(gather(places), gather(codes))
    if estimator == "infonce":
        return infonce_loss(scores, own)
    return -donsker_varadhan(scores) if estimator == "dv" else -f_divergence(scores, estimator)


def check_estimator(name: str) -> None:
    """ValueError for an unknown estimator."""
    if name not in ESTIMATORS:
        raise ValueError(f"estimator is {name!r}; expected one of {', '.join(ESTIMATORS)}")


@in_float32
def prior_losses(discriminator: nn.Module, codes: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Codes in (0, 1) and draws of the prior, (N, d) each -> the encoder's loss and the discriminator's, scalars.

    The encoder's has no gradient to the discriminator, the discriminator's none to the codes.
    """
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    fooled = F.softplus(-functional_call(discriminator, frozen, codes)).mean()
    return fooled, F.softplus(-discriminator(prior)).mean() + F.softplus(discriminator(codes.detach())).mean()


# ------------------------------------------------------------------------------------------------ the module
class PlaceNet(nn.Module):
    """A map (B, width, h, w) -> (B, units, h, w), place by place, as in the official code.

    1x1 convolutions with batch norm beside a shortcut that starts as a near-identity (where units >= width), their sum
    through a layer norm.
    """

    def __init__(self, width: int, units: int):
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(width, units, 1, bias=False), BatchNorm2d(units), nn.ReLU(),
                                    nn.Conv2d(units, units, 1))
        self.shortcut, self.norm = nn.Conv2d(width, units, 1, bias=False), nn.LayerNorm(units)
        if units >= width:
            nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
            with torch.no_grad():
                self.shortcut.weight[:width, :, 0, 0].fill_diagonal_(1.0)

    def forward(self, maps: Tensor) -> Tensor:
        summed = self.branch(maps) + self.shortcut(maps)
        return self.norm(summed.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class WholeNet(nn.Sequential):
    """A map (B, width, h, w) -> one vector (B, units, 1, 1) that knows where things are: pooled to 4x4, then an MLP.

    (The official one is a copy of the encoder's own layers from there on.)
    """

    def __init__(self, width: int, units: int):
        super().__init__(nn.AdaptiveAvgPool2d(4), nn.Flatten(), MLP(16 * width, units, units, last_bias=True),
                         nn.Unflatten(1, (units, 1, 1)))


class DIM(Method):
    """The method over a convolutional backbone, with a linear code after it, which is discarded after training.

    local_weight, global_weight, prior_weight: beta, alpha and gamma; a term whose weight is 0 is left out. estimator:
    jsd, infonce, dv, or another of estimators.DIVERGENCES. level: which of the backbone's maps, the last but one if
    not given (8x8 of the convnet at 32 pixels, as in the paper's encoder). units: d (2048 in the paper). code: width
    of E(x) (64). scale: of the scores, one over the root of d if not given, as in AMDIM; the official code has 1, with
    which scores are so large at first that nwj overflows and the others start far off. hidden: of the discriminator
    (1000 and 200). augment: of the one view; none, as in the official code. recipe: for short runs; the official code
    has Adam, 1e-4, for 1000 epochs.
    """

    title = "DIM"
    week = 25
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "batch_size": 64}
    shapes_options = {"augment": SHAPES_VIEWS}
    explored = ("code", "critics")
    backbone: ConvBackbone

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, local_weight: float = 1.0,
                 global_weight: float = 0.0, prior_weight: float = 0.0, estimator: str = "jsd",
                 level: int | None = None, units: int = 256, code: int = 64, scale: float | None = None,
                 hidden: tuple[int, ...] = (1000, 200), augment: Augment | None = None):
        super().__init__()
        self.scale = 1 / math.sqrt(units) if scale is None else scale
        check_positive("scale", self.scale)
        check_maps(backbone, self.title)
        check_estimator(estimator)
        self.level = chosen_level(backbone, image_size, level)
        weights = {"local": local_weight, "global": global_weight, "prior": prior_weight}
        if min(weights.values()) < 0 or local_weight + global_weight == 0:
            raise ValueError(f"the weights are {weights}; expected 0 or more, and local or global above 0")
        self.backbone, self.weights, self.estimator = backbone, weights, estimator
        self.code = nn.Linear(backbone.dim, code)
        width = backbone.widths[self.level]
        maps = {"local": PlaceNet, "global": WholeNet}
        self.critics: Any = nn.ModuleDict({
            name: nn.ModuleDict({"map": maps[name](width, units), "code": PlaceNet(code, units)})
            for name in maps if weights[name]})
        layers = [layer for a, b in zip((code, *hidden), hidden) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.discriminator = nn.Sequential(*layers, nn.Linear((code, *hidden)[-1], 1)) if prior_weight else None
        self.augment = augment or as_they_are(image_size)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One view (B, 3, H, W), and draws of the prior, (B, code)."""
        images = self.augment(batch.images, generator)
        prior = torch.rand(len(images), self.code.out_features, generator=generator, device=generator.device)
        return images, prior.to(images.device)

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, prior = views
        if world_size() == 1:
            check_several(images, self.title)
        maps = self.backbone.stages(standardize(images))
        codes = self.code(mean_of_positions(maps[-1]))  # (N, code)
        parts = {}
        for name, nets in self.critics.items():
            places = nets["map"](maps[self.level]).flatten(2)  # (N, units, L), of the global one L = 1
            own = self.scale * nets["code"](codes[:, :, None, None]).flatten(2)  # (N, units, 1)
            parts[name] = information_loss(places, own, self.estimator)
        loss = sum(self.weights[name] * part for name, part in parts.items())
        if self.discriminator is not None:
            inside = at_least_float32(codes).sigmoid()  # in bfloat16 it would be 1 from a code of 7 on
            parts["prior"], parts["discriminator"] = prior_losses(self.discriminator, inside, prior.to(inside))
            loss = loss + self.weights["prior"] * parts["prior"] + parts["discriminator"]
        return {"loss": loss, **parts, "embedding": normalize(codes.detach()), "views_per_image": 1}


def as_they_are(image_size: int) -> Augment:
    """A view that is the image itself."""
    return Augment(image_size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)


def chosen_level(backbone: ConvBackbone, image_size: int, level: int | None) -> int:
    """The map that is asked for, from 0; the last but one if none is. ValueError where it has one place alone."""
    maps = len(backbone.strides)
    chosen = max(0, maps - 2) if level is None else level
    if not 0 <= chosen < maps or image_size <= backbone.strides[chosen]:
        raise ValueError(f"level is {chosen}; expected one of the backbone's {maps} maps, from 0, with several places: "
                         f"at {image_size} pixels a place is {' or '.join(map(str, backbone.strides))} pixels wide")
    return chosen
