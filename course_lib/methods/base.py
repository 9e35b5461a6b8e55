"""What `train.fit` trains: the contract of a method. Nothing of any paper is in here."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import check_images, standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, two_views
from course_lib.data.images import Batch
from course_lib.models.patches import paint
from course_lib.optim import Group, parameter_groups

# What a method may need beside images and views; "clusters" also stands for prototypes.
NEEDS = ("negatives", "queue", "memory bank", "teacher", "predictor", "masks", "tokenizer", "clusters", "labels",
         "trained network")


class Method(nn.Module):
    """A self-supervised method over a backbone: define `views` and `loss`; override the hooks that the paper needs.

    The backbone maps normalised images (B, 3, H, W) to (B, D). State that matters (a queue, a centre, a teacher) is a
    persistent buffer or a submodule, so a resumed run is the same run.
    """

    title: ClassVar[str] = ""                         # in lessons and tables
    week: ClassVar[int] = 0                           # the lesson that builds it
    needs: ClassVar[tuple[str, ...]] = ()             # beside images and views; of NEEDS
    recipe: ClassVar[dict[str, Any]] = {}             # defaults of `fit`'s settings
    backbone_options: ClassVar[dict[str, Any]] = {}   # the paper's ViT, where the backbone is a name
    resnet_options: ClassVar[dict[str, Any]] = {}     # the same of a ResNet
    convnet_options: ClassVar[dict[str, Any]] = {}    # and of the convnet
    shapes_options: ClassVar[dict[str, Any]] = {}     # options that suit the generated images
    explored: ClassVar[tuple[str, ...]] = ()          # parts that are looked into, beside the evaluated backbone
    begins_with: ClassVar[tuple[str, ...]] = ()       # options that name a trained network: see `begin`
    needs_labels: ClassVar[bool] = False              # trains on labelled images only
    backbone: nn.Module
    settings: dict[str, Any] = {}                     # what `build_method` made it from

    def views(self, batch: Batch, generator: torch.Generator) -> Any:
        """What the method sees of a batch of uint8 images (B, 3, H, W); all randomness comes from the generator."""
        raise NotImplementedError

    def loss(self, views: Any, progress: float = 0.0) -> dict[str, Any]:
        """"loss" and its named parts, scalars; progress in [0, 1] is counted in steps.

        Optionally also "embedding" (B, D), watched for collapse, and "views_per_image" (2 if not given).
        """
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """The representation that is evaluated: (B, 3, H, W), uint8 or in [0, 1] -> (B, D)."""
        return self.evaluated(standardize(check_images(images)))

    @property
    def evaluated(self) -> nn.Module:
        """The backbone that is evaluated and exported."""
        return self.backbone

    def param_groups(self, weight_decay: float) -> list[Group]:
        """The parameters as the optimizer takes them; see `optim.Group`."""
        return parameter_groups(self, weight_decay)

    def begin(self, **networks: Method) -> None:
        """Take over what is needed of trained networks, one for each option of `begins_with` that was given.

        `runs.sources.build_on` reads and hands them in; the first one's evaluated backbone has this one's shape.
        """

    def prepare(self, images: Tensor) -> None:
        """Before the first step of a new run: learn what is needed from all images (uint8)."""

    def on_epoch(self, epoch: int) -> None:
        """At the first step of each epoch."""

    def before_update(self) -> None:
        """Between backward and update, with gradients unscaled and clipped."""

    def after_update(self, progress: float) -> None:
        """After each update."""


class ReconstructionMethod(Method):
    """A method that hides patches and can draw what is behind them; where it predicts pixels, define `decode`."""

    grid: int                     # patches along a side
    patch: int                    # pixels along a patch's side
    mask_ratio: float             # the share of patches that is hidden
    mask_grid: int | None = None  # the grid of the masks, where it is coarser than that of the patches
    normalized: bool              # targets normalised per patch, or plain pixels
    pixels: ClassVar[bool] = True  # targets are pixels, so that their error means something
    needs = ("masks",)

    def decode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W), visible (B, g, g) -> predicted images, or their patches (B, L, p*p*3)."""
        raise NotImplementedError

    @torch.no_grad()
    def reconstruct(self, images: Tensor, visible: Tensor, true_statistics: bool = True) -> Tensor:
        """Images in [0, 1] with their hidden patches replaced by the prediction: (B, 3, H, W), on the images' device.

        It is drawn in the mode, train or eval, that the method is in. With normalised targets it leaks, unless
        true_statistics is off: see `paint`.
        """
        where = next(self.parameters()).device
        prediction = self.decode(standardize(images).to(where), visible.to(where))
        return paint(images, prediction, visible, self.normalized, true_statistics)


class TwoViewMethod(Method):
    """A method that sees two random views of each image, of one kind or of two."""

    shapes_options = {"augment": SHAPES_VIEWS}
    augment: Augment
    other: Augment

    def views(self, batch: Batch, generator: torch.Generator) -> Any:
        return two_views(batch.images, self.augment, generator, self.other)


class ComparesMaps:
    """Mixed into a method that compares places of a map of its own, beside those of its backbone."""

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or in [0, 1] -> one vector for each place, (B, D, h, w)."""
        raise NotImplementedError


class ClusteringMethod(Method):
    """A method that says which of K clusters an image belongs to."""

    clusters: int       # K
    begun: bool = True  # whether the networks that options name have been handed in

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or in [0, 1] -> logits (B, K): their softmax is the probability of each cluster."""
        raise NotImplementedError

    def probabilities(self, images: Tensor) -> Tensor:
        """The probability of each cluster: (B, K)."""
        return self.logits(images).softmax(1)

    def assign(self, images: Tensor) -> Tensor:
        """The likeliest cluster of each image: (B,) int64."""
        return self.probabilities(images).argmax(1)
