r"""A framework for contrastive learning: five choices make a method. Falcon and Cho, 2020, arXiv 2009.00104.

    views  v, v+ ~ A(x)                  1  augmentation
    f(v)                                 2  encoder
    r = R(f(v))                          3  extraction: what of it is compared, and with what
    s = Phi(r, r+)                       4  similarity
    L = mean of -log( exp(s+) / (exp(s+) + sum over the negatives of exp(s-)) )        5  loss, mostly

AMDIM, CPC, SimCLR, MoCo and BYOL are five sets of choices; YADIM is the set that the paper makes of them (see
yadim.py). Here each choice is a function, and `contrast` composes them. What belongs to a paper is taken from its own
file, and the tests hold each set equal to that file: values and gradients.

| | augmentation | encoder | extraction | similarity | loss |
|---|---|---|---|---|---|
| AMDIM | amdim | one | scales | scaled dot | regulated |
| CPC v2 | cpc | one | rows below | tenth dot | nce |
| SimCLR | simclr | one | projection | cosine/T | nce |
| MoCo v2 | moco | momentum | queue | cosine/T | nce |
| BYOL | byol | momentum | prediction | cosine | distance |
| SimSiam | moco | one | prediction | cosine | minus |
| YADIM | amdim | one | last map | scaled dot | regulated |

The score's clip, which AMDIM's authors count to the similarity, is in its loss here, whose regulariser sees the scores
before. A stopped gradient belongs to the extraction. What is no choice of the five is not copied: the predictor's own
learning rate, MoCo's split batch norm, each recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, byol_views, moco_view, two_views
from course_lib.collectives import world_size
from course_lib.data.images import Batch
from course_lib.methods.base import TwoViewMethod
from course_lib.methods.contrastive.byol import BYOL
from course_lib.methods.contrastive.moco import MoCoV2
from course_lib.methods.contrastive.simclr import SimCLR, simclr_views
from course_lib.methods.contrastive.simsiam import SimSiam
from course_lib.methods.information.amdim import (
    Scales,
    amdim_view,
    flipped_once,
    nce,
    pairs_of,
    regulated_nce,
    scaled_dots,
)
from course_lib.methods.information.cpc import CPC, cut
from course_lib.methods.information.extraction import (
    Encode,
    Extract,
    all_views,
    cells_and_maps,
    key_and_queue,
    predicted,
    rows_below,
)
from course_lib.models.backbones import mean_of_positions
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import Backbone, check_maps, check_queue, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import ema_momentum
from course_lib.precision import check_positive, check_several, in_float32

Similarity = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def contrast(views: Sequence[Tensor], encoder: tuple[Encode, Encode], extract: Extract, similarity: Similarity,
             loss: Loss) -> dict[str, Tensor]:
    """The composition: what the augmentation made is encoded, extracted, scored and judged.

    views: of the same images, and last the draws that choose cells. encoder: of anchors and of candidates, or one
    twice; `once` spares a second encoding of a view. -> "loss", and the first anchors as "embedding".
    """
    found = list(extract(*encoder, views))
    terms = [each.weight * loss(similarity(each.anchors, each.candidates), each.positive, each.negative)
             for each in found]
    return {"loss": torch.stack(terms).sum(), "embedding": normalize(found[0].anchors.detach())}


def once(encode: Encode) -> Encode:
    """The same function, which encodes no view a second time."""
    seen: dict[int, tuple[Tensor, Any]] = {}

    def remembered(view: Tensor) -> Any:
        if id(view) not in seen:
            seen[id(view)] = view, encode(view)
        return seen[id(view)][1]

    return remembered


# ------------------------------------------------------------------------------------------------ 4 and 5
@in_float32
def cosine(anchors: Tensor, candidates: Tensor) -> Tensor:
    """(A, d), (C, d) -> (A, C)."""
    return normalize(anchors) @ normalize(candidates).T


def similarities(temperature: float = 0.2) -> dict[str, Similarity]:
    """AMDIM's, CPC's, BYOL's, and SimCLR's and MoCo's."""
    return {"scaled dot": in_float32(scaled_dots), "tenth dot": in_float32(lambda a, c: 0.1 * a @ c.T),
            "cosine": cosine, "cosine/T": lambda a, c: cosine(a, c) / temperature}


def losses(clip: float = 20.0) -> dict[str, Loss]:
    """nce; regulated, AMDIM's; distance, BYOL's 2 - 2s, of both directions together; minus, SimSiam's -s.

    The last two look at no negatives.
    """
    def regulated(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return torch.stack(regulated_nce(scores, positive, negative, clip)).sum()

    return {"nce": nce, "regulated": regulated,
            "distance": lambda scores, positive, _: 4 - 4 * scores[positive].mean(),
            "minus": lambda scores, positive, _: -scores[positive].mean()}


# ------------------------------------------------------------------------------------------------ the switches
AUGMENTATIONS: dict[str, Callable[[int], Augment | tuple[Augment, Augment]]] = {
    "simclr": simclr_views, "moco": moco_view, "byol": byol_views, "amdim": amdim_view, "cpc": amdim_view}
ASPECTS = {"augmentation": tuple(AUGMENTATIONS), "encoder": ("one", "momentum"),
           "extraction": ("projection", "queue", "prediction", "scales", "last map", "rows below"),
           "similarity": tuple(similarities()), "loss": tuple(losses())}
PAPERS = {"AMDIM": ("amdim", "one", "scales", "scaled dot", "regulated"),
          "CPC v2": ("cpc", "one", "rows below", "tenth dot", "nce"),
          "SimCLR": ("simclr", "one", "projection", "cosine/T", "nce"),
          "MoCo v2": ("moco", "momentum", "queue", "cosine/T", "nce"),
          "BYOL": ("byol", "momentum", "prediction", "cosine", "distance"),
          "SimSiam": ("moco", "one", "prediction", "cosine", "minus"),
          "YADIM": ("amdim", "one", "last map", "scaled dot", "regulated")}


def paper_of(*choices: str) -> str | None:
    """The method that these five choices are, or None."""
    return next((name for name, known in PAPERS.items() if known == choices), None)


def check_choices(**choices: str) -> None:
    """ValueError for a choice that there is not, or two that do not go together."""
    for aspect, choice in choices.items():
        if choice not in ASPECTS[aspect]:
            raise ValueError(f"{aspect} is {choice!r}; expected one of {', '.join(ASPECTS[aspect])}")
    if choices["augmentation"] == "cpc" and choices["extraction"] != "rows below":
        raise ValueError(f"augmentation 'cpc' gives one view, and extraction {choices['extraction']!r} compares two: "
                         "take the extraction 'rows below', or another augmentation")


class LastMap(nn.Module):
    """A backbone's maps -> the last one alone, normed, in a list; with a head, the head's vector of its mean."""

    def __init__(self, head: nn.Module | None = None, norm: nn.Module | None = None):
        super().__init__()
        self.head, self.norm = head, norm or nn.Identity()

    def forward(self, maps: list[Tensor]) -> Any:
        return [self.norm(maps[-1])] if self.head is None else self.head(mean_of_positions(maps[-1]))


class Represented(nn.Module):
    """r = R(f(v)): a backbone, and what reads its maps. Patches give one map, of a vector each."""

    def __init__(self, backbone: Backbone, read: nn.Module):
        super().__init__()
        self.backbone: Any = backbone
        self.read = read

    def forward(self, view: Tensor) -> Any:
        images = standardize(view)
        if images.ndim > 4:
            vectors = self.backbone(images.flatten(0, 2)).unflatten(0, images.shape[:3])  # (B, h, w, D)
            return self.read([vectors.permute(0, 3, 1, 2)])
        whole = not hasattr(self.backbone, "stages")
        return self.read([self.backbone(images)[:, :, None, None]] if whole else self.backbone.stages(images))


class Framework(TwoViewMethod):
    """The method that five choices make, over a backbone; YADIM, if nothing is said.

    augmentation: simclr, moco, byol, amdim or cpc. encoder: one, or momentum (candidates are of a copy that follows).
    extraction: projection, queue, prediction, scales, last map or rows below. similarity: scaled dot, tenth dot, cosine
    or cosine/T. loss: nce, regulated, distance or minus. temperature: T. clip: of the regulated loss (20 for scales,
    else 10). momentum: the copy's; for predictions it rises to 1, as in BYOL. queue: its length. norm: a batch norm on
    the last map, see YADIM. augment, other: how views look, but not how many there are. Heads are those of the papers'
    own files, with their defaults.
    """

    title = "Five choices"
    week = 24
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "batch_size": 64}
    backbone: Any  # which of them will do depends on the extraction

    def __init__(self, backbone: Backbone, image_size: int = 32, augmentation: str = "amdim", encoder: str = "one",
                 extraction: str = "last map", similarity: str = "scaled dot", loss: str = "regulated",
                 temperature: float = 0.2, clip: float | None = None, momentum: float = 0.99, queue: int = 512,
                 augment: Augment | None = None, other: Augment | None = None, norm: bool = False):
        super().__init__()
        self.choices = (augmentation, encoder, extraction, similarity, loss)
        check_choices(**dict(zip(ASPECTS, self.choices)))
        check_positive("temperature", temperature)
        clip = (20.0 if extraction == "scales" else 10.0) if clip is None else clip
        check_positive("clip", clip)
        self.backbone, self.size, self.momentum, self.pairs = backbone, image_size, momentum, ()
        self.norm = norm
        look = AUGMENTATIONS[augmentation](image_size)
        first, second = look if isinstance(look, tuple) else (look, look)
        self.augment, self.other = augment or first, other or augment or second
        self.similarity, self.judge = similarities(temperature)[similarity], losses(clip)[loss]
        self.read, self.extract = self._extraction(extraction, encoder == "one", queue)
        self.copy = EMA(Represented(backbone, self.read)) if encoder == "momentum" else None

    def _extraction(self, name: str, one: bool, queue: int) -> tuple[nn.Module, Extract]:
        """What reads the backbone's maps, and what is compared; their networks are taken from the papers' files."""
        backbone, size = self.backbone, self.size
        if name == "projection":
            return LastMap(SimCLR(backbone, size).head), all_views
        if name == "queue":
            moco = MoCoV2(backbone, size, queue=queue, splits=1)
            self.queue = moco.queue
            return LastMap(moco.head), key_and_queue(moco.queue)
        if name == "prediction":
            paper = SimSiam(backbone, size) if one else BYOL(backbone, size)
            self.predictor = paper.predictor
            return LastMap(paper.projector), predicted(paper.predictor)
        if name == "rows below":
            cpc = CPC(backbone, size)
            side = -(-size // getattr(backbone, "strides", (size,))[-1])
            if self.choices[0] != "cpc" and side <= max(cpc.rows):
                raise ValueError(f"extraction 'rows below' predicts {max(cpc.rows)} rows further down, and the last "
                                 f"map is {side}x{side}: take the augmentation 'cpc', or larger images")
            self.predictors = cpc.predictors
            return LastMap(), rows_below(cpc.predictors, cpc.rows)
        check_maps(backbone, f"extraction {name!r}")
        scales = Scales(backbone, size) if name == "scales" else None
        self.pairs = ((0, 0),) if scales is None else pairs_of("01,02,11", 1 + len(scales.local))
        return scales or LastMap(norm=BatchNorm2d(backbone.dim) if self.norm else None), cells_and_maps(self.pairs)

    def prepare(self, images: Tensor) -> None:
        if self.choices[2] == "queue":
            check_queue(self.queue, len(images), False)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Two views (B, 3, H, W), or one as patches (B, h, w, 3, p, p), and draws (P, 2, B) of the source cells."""
        images, how = batch.images, self.choices[0]
        if how == "cpc":
            views = (cut(self.augment(images, generator), self.size // 4, self.size // 8),)
        else:
            make = flipped_once if how == "amdim" else two_views
            views = make(images, self.augment, generator, self.other)
        draws = torch.rand(len(self.pairs), 2, len(images), generator=generator, device=generator.device)
        return *views, draws.to(views[0].device)

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict[str, Any]:
        if world_size() == 1:
            check_several(views[0], self.title)
        online = once(Represented(self.backbone, self.read))
        target = online if self.copy is None else once(self.copy)
        parts = contrast(views, (online, target), self.extract, self.similarity, self.judge)
        if self.choices[2] == "queue" and self.training:  # after the scores: no key is its own query's negative
            self.queue.enqueue(normalize(target(views[1])))
        return {**parts, "views_per_image": len(views) - 1}

    def after_update(self, progress: float) -> None:
        if self.copy is not None:
            rising = self.choices[2] == "prediction"
            self.copy.update(Represented(self.backbone, self.read),
                             ema_momentum(self.momentum, progress) if rising else self.momentum)
