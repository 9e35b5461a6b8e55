r"""YADIM: a method designed in the framework of contrastive learning. Falcon and Cho, 2020, arXiv 2009.00104.

The paper describes a contrastive method by five choices (see framework.py) and designs one that depends less on its
encoder: AMDIM's loss, but between the *last map* of any encoder for the one view and that for the other. With one
source cell r_i of each image, drawn at random, and all targets t_jl of the other view's map:

    s_ijl = <r_i, t_jl> / sqrt(d),    L = NCE of c tanh(s / c)  +  0.05 mean(s^2)        both directions averaged

in AMDIM's (and Lightning-Bolts') language the pair "00" of one map, c = 10.

What is known of it, and what is not: the loss is the one of Lightning-Bolts, by the paper's first author, whose tree no
longer has YADIM itself. That its views are the union of AMDIM's and CPC's operations is recalled, not confirmed. Both
have one list of operations there (one flip, a shift or crop, colours, grey), so the union is that list; whether the
views were also cut into CPC's patches is not known. Here they are not.

What other implementations get wrong: pooled vectors compared, which makes it a SimCLR without a head; sqrt(d) left
out; a last map that ends in a ReLU compared as it is: no coordinate is negative then, so all inner products are
positive, and the direction that images have in common outweighs what tells them apart. AMDIM's own encoder ends in a
batch norm, and so do resnets' and the convnet's maps here with norm=True.
"""

from __future__ import annotations

from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.methods.information.amdim import MapMethod
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import ConvBackbone


class YADIM(MapMethod):
    """The method over any convolutional backbone, without a head.

    clip: c (10; inf for none). regulariser: the weight of mean(s^2) (0.05). norm: a batch norm on the last map before
    it is compared; what is evaluated comes before it. augment: of both views, whose flip is drawn once. recipe: for
    short runs.
    """

    title = "YADIM"
    pairs = ((0, 0),)
    shapes_options = {"augment": SHAPES_VIEWS, "norm": True}
    explored = ("norm",)

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, clip: float = 10.0, regulariser: float = 0.05,
                 augment: Augment | None = None, other: Augment | None = None, norm: bool = False):
        super().__init__(backbone, image_size, clip, regulariser, augment, other)
        self.norm = BatchNorm2d(backbone.dim) if norm else nn.Identity()

    def maps(self, images: Tensor) -> list[Tensor]:
        return [self.norm(self.backbone.stages(standardize(images))[-1])]
