r"""Hierarchical augmentation invariance with expanded views. Zhang, Ma, CVPR 2022, arXiv 2206.00227.

A network that is asked to ignore every augmentation at its end may as well lose what they change early. Here stage s of
the backbone contrasts two views of its own, made with the first s kinds of augmentation alone, one kind more per stage:

    L = sum over s of NT-Xent(h_s([f_s(v); e(v)]), h_s([f_s(v'); e(v')])),   v, v' views with the kinds 1, ..., s

f_s is the mean of stage s's map over its places, h_s a head, and e(v) the *augmentation embedding*: an MLP of the
parameters that v was made with. Told what has been done, a head needs no backbone that ignores it. Gradients of stage
s's loss reach the stages 1 to s.

No official code was found. Reconstructed here: the order of kinds (crop, place, colour); equal weights of the stages;
all views in one batch of the network, so that batch norm sees all kinds; and e(v) of where the crop lies, mirrored or
not, which is what `Augment.placed` tells (the paper: of the strengths of the jitter and of its flags, too).

What implementations get wrong: one pair of views for all stages, with which nothing is hierarchical (the control:
hierarchical=False draws a pair for each stage, with all kinds); an embedding of parameters that were not those drawn;
of one view's parameters given to both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import world_size
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.contrastive.looc import MOVED_VIEWS, OFF
from course_lib.methods.contrastive.simclr import nt_xent, projection_head
from course_lib.models.backbones import mean_of_positions
from course_lib.models.layers import ConvBackbone, check_maps, normalize
from course_lib.precision import check_several

ORDER = ("common", "place", "colour")  # crop and flip; turn, shift and zoom; jitter and grey
View = tuple[Tensor, Tensor]  # images (N, 3, H, W), and where each lies in its image, (N, 4)


def hierarchy(augment: Augment, stages: int, order: tuple[str, ...] = ORDER) -> list[Augment]:
    """What each stage's views are made with: the first kind alone, then one more each, at the last stage all.

    -> min(stages, kinds) of them, for the last stages of the network. ValueError for an order that does not hold each
    kind of `ORDER` once.
    """
    if sorted(order) != sorted(ORDER):
        raise ValueError(f"order is {', '.join(order)}; expected {', '.join(ORDER)}, in any order, each once")
    number = min(stages, len(order))
    made = []
    for last in range(1, number + 1):
        off = [OFF[kind] for kind in order[last:]] if last < number else []
        made.append(replace(augment, **{name: value for kind in off for name, value in kind.items()}))
    return made


def hierarchical_loss(pairs: list[tuple[Tensor, Tensor]], temperature: float = 0.2) -> dict[str, Tensor]:
    """The sum of NT-Xent over stages, each with its own two views' raw embeddings (N, D) -> "loss", "stage_1", ...

    "accuracy" is that of the last stage. The widths D may differ from stage to stage.
    """
    parts = [nt_xent(a, b, temperature) for a, b in pairs]
    each = torch.stack([part["loss"] for part in parts])
    return {"loss": each.sum(), "accuracy": parts[-1]["accuracy"],
            **{f"stage_{s}": loss for s, loss in enumerate(each, 1)}}


class HierAug(Method):
    """SimCLR's loss at each of the backbone's last stages, one kind of augmentation more at each.

    order: of the kinds (common: crop and flip; place: turn, shift, zoom; colour). hierarchical: False gives all kinds
    to all stages, the control. told: the width of the augmentation embedding (0: none). hidden, out: of the heads.
    temperature: 0.2. augment: all kinds together.
    """

    title = "HierAug"
    week = 20
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128}
    shapes_options = {"augment": MOVED_VIEWS}
    backbone: ConvBackbone

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, order: tuple[str, ...] = ORDER,
                 hierarchical: bool = True, told: int = 16, hidden: int = 256, out: int = 64, temperature: float = 0.2,
                 augment: Augment | None = None):
        super().__init__()
        check_maps(backbone, self.title)
        order = tuple(order.split(",")) if isinstance(order, str) else tuple(order)
        self.backbone, self.temperature, self.order, self.hierarchical = backbone, temperature, order, hierarchical
        self.augment = augment or Augment(image_size, turn=30.0)
        widths = backbone.widths[-len(self.augments):]
        self.told = nn.Sequential(nn.Linear(4, told), nn.ReLU(), nn.Linear(told, told)) if told else None
        self.heads = nn.ModuleList(projection_head(width + told, hidden, out) for width in widths)

    @property
    def augments(self) -> list[Augment]:
        """Each stage's, of the last stages."""
        made = hierarchy(self.augment, len(self.backbone.widths), self.order)
        return made if self.hierarchical else [self.augment] * len(made)

    def views(self, batch: Batch, generator: torch.Generator) -> list[tuple[View, View]]:
        """Two views for each of the last stages."""
        return [(augment.placed(batch.images, generator), augment.placed(batch.images, generator))
                for augment in self.augments]

    def expand(self, features: Tensor, corners: Tensor) -> Tensor:
        """Features (N, D) beside the embedding of where each view lies, corners (N, 4): (N, D + told)."""
        return features if self.told is None else torch.cat([features, self.told(corners.to(features))], 1)

    def loss(self, views: list[tuple[View, View]], progress: float = 0.0) -> dict[str, Any]:
        n = len(views[0][0][0])
        if world_size() == 1:
            check_several(views[0][0][0], self.title)
        flat = [view for pair in views for view in pair]
        maps = self.backbone.stages(standardize(torch.cat([images for images, _ in flat])))[-len(views):]
        pairs = []
        for s, (head, stage) in enumerate(zip(self.heads, maps)):
            own = slice(2 * s * n, 2 * (s + 1) * n)  # of this stage's two views
            corners = torch.cat([corners for _, corners in views[s]])
            a, b = head(self.expand(mean_of_positions(stage[own]), corners)).chunk(2)
            pairs.append((a, b))
        parts = hierarchical_loss(pairs, self.temperature)
        return {**parts, "embedding": normalize(pairs[-1][0].detach()), "views_per_image": len(flat)}
