"""The same work in lightly: its transforms, a DataLoader, its heads and losses; see contenders.py."""

from __future__ import annotations

import copy

import torch
from contenders import Loader, Work, crops
from torch import Tensor, nn

from course_lib.augment.pixels import MEAN, STD
from course_lib.augment.views import Augment
from course_lib.optim import ema_momentum

NORMALIZE = {"mean": [MEAN] * 3, "std": [STD] * 3}


def colours(augment: Augment) -> dict:
    """An Augment's colours as the arguments that lightly's transforms share."""
    brightness, contrast, saturation, hue = augment.jitter
    return dict(cj_prob=augment.jitter_p, cj_strength=1.0, cj_bright=brightness, cj_contrast=contrast,
                cj_sat=saturation, cj_hue=hue, random_gray_scale=augment.gray_p, gaussian_blur=augment.blur_p,
                sigmas=augment.blur_sigma, hf_prob=augment.flip, normalize=NORMALIZE)


def transform(name: str, augments: list[Augment]):
    """lightly's transform for a method, with the parameters of these augmentations."""
    from lightly import transforms as T

    first = augments[0]
    own = dict(input_size=first.size, min_scale=first.scale[0])
    if name == "simclr":
        return T.SimCLRTransform(**own, **colours(first))
    if name == "vicreg":
        return T.VICRegTransform(**own, **colours(first), solarize_prob=first.solarize_p)
    if name == "byol":
        from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

        views = [kind(input_size=each.size, min_scale=each.scale[0], solarization_prob=each.solarize_p, **colours(each))
                 for kind, each in zip((BYOLView1Transform, BYOLView2Transform), augments)]
        return BYOLTransform(*views)
    if name == "swav":
        small = augments[2:]
        kinds = [first, *small[:1]]
        return T.SwaVTransform(
            crop_sizes=tuple(each.size for each in kinds), crop_counts=(2, len(small))[: len(kinds)],
            crop_min_scales=tuple(each.scale[0] for each in kinds),
            crop_max_scales=tuple(each.scale[1] for each in kinds),
            **colours(first))
    return T.MAETransform(**own, normalize=NORMALIZE)


class MaskedAutoencoder(nn.Module):
    """MAE from lightly's parts on torchvision's ViT, as large as the course's."""

    def __init__(self, method: nn.Module, size: int):
        super().__init__()
        from lightly.models.modules import MaskedVisionTransformerTorchvision
        from lightly.models.modules.masked_autoencoder import MAEDecoder
        from torchvision.models.vision_transformer import VisionTransformer

        ours, decoder = method.backbone, method.decoder
        vit = VisionTransformer(size, ours.patch, len(ours.blocks), ours.blocks[0].attn.heads, ours.dim, 4 * ours.dim)
        vit.heads = nn.Identity()
        self.backbone = MaskedVisionTransformerTorchvision(vit)
        self.length, self.patch, self.mask_ratio = ours.grid**2 + 1, ours.patch, method.mask_ratio
        width = decoder.embed.out_features
        self.decoder = MAEDecoder(self.length, len(decoder.blocks), decoder.blocks[0].attn.heads, ours.dim, width,
                                  4 * width, 3 * ours.patch**2)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))

    def loss(self, images: Tensor) -> Tensor:
        from lightly.models import utils

        batch = len(images)
        keep, mask = utils.random_token_mask((batch, self.length), self.mask_ratio, device=images.device)
        encoded = self.decoder.embed(self.backbone.encode(images, idx_keep=keep))
        tokens = utils.repeat_token(self.mask_token, (batch, self.length))
        tokens = utils.set_at_index(tokens, keep, encoded.type_as(tokens))
        predicted = self.decoder.predict(utils.get_at_index(self.decoder.decode(tokens), mask))
        patches = utils.patchify(images, self.patch)
        target = utils.normalize_mean_var(utils.get_at_index(patches, mask - 1))  # patches have no class token
        return nn.functional.mse_loss(predicted.float(), target)


class Lightly(Loader):
    """Its documented training step for each method; half: bfloat16 and channels_last, which it leaves to the user."""

    def __init__(self, work: Work, half: bool = False):
        super().__init__(work, half, channels_last=half)
        from lightly import loss as L
        from lightly.models.modules import heads as H

        method = work.build()
        name, self.backbone = work.method, method.backbone
        self.head = self.predictor = self.prototypes = self.target = None
        if name == "simclr":
            hidden, out = method.head[0].out_features, method.head[-1].num_features
            self.head = H.SimCLRProjectionHead(self.backbone.dim, hidden, out)
            self.criterion = L.NTXentLoss(method.temperature)
        elif name == "vicreg":
            width = method.expander[0].out_features
            self.head, self.criterion = H.VICRegProjectionHead(self.backbone.dim, width, width), L.VICRegLoss()
        elif name in ("byol", "swav"):
            hidden, out = method.projector[0].out_features, method.projector[-1].out_features
            if name == "byol":
                self.head = H.BYOLProjectionHead(self.backbone.dim, hidden, out)
                self.predictor = H.BYOLPredictionHead(out, hidden, out)
                self.target = self.prepare(copy.deepcopy(nn.Sequential(self.backbone, self.head))).requires_grad_(False)
                self.criterion, self.momentum = L.NegativeCosineSimilarity(), method.momentum
            else:
                self.head = H.SwaVProjectionHead(self.backbone.dim, hidden, out)
                self.prototypes = H.SwaVPrototypes(out, len(method.prototypes.weight))
                self.criterion = L.SwaVLoss(method.temperature, method.iterations, method.epsilon)
        elif name == "mae":
            self.backbone = MaskedAutoencoder(method, work.size)
        else:
            raise ValueError(f"{name} is not among what is compared with lightly: simclr, byol, vicreg, swav, mae")
        modules = [m for m in (self.backbone, self.head, self.predictor, self.prototypes) if m is not None]
        self.trained = [self.prepare(module) for module in modules]
        self.adam(*self.trained)
        from PIL import Image

        pictures = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in work.pictures().images]
        self.feed(pictures, transform(name, crops(method)))

    def networks(self) -> list[nn.Module]:
        return self.trained + ([self.target] if self.target is not None else [])

    def loss(self, views: list[Tensor]) -> Tensor:
        name = self.work.method
        if name == "mae":
            return self.backbone.loss(views[0])
        if name == "swav":
            return self._swav(views)
        z = [self.head(self.backbone(view)) for view in views]
        if name != "byol":
            return self.criterion(*(each.float() for each in z))
        p = [self.predictor(each).float() for each in z]
        with torch.no_grad():
            t = [self.target(view).float() for view in views]
        return (self.criterion(p[0], t[1]) + self.criterion(p[1], t[0])) / 2

    def _swav(self, views: list[Tensor]) -> Tensor:
        self.prototypes.normalize()
        z = [nn.functional.normalize(self.head(self.backbone(view)).float(), dim=1) for view in views]
        scores = [self.prototypes(each).float() for each in z]
        return self.criterion(scores[:2], scores[2:])

    def after(self) -> None:
        if self.target is not None:
            from lightly.models.utils import update_momentum

            update_momentum(nn.Sequential(self.backbone, self.head), self.target, ema_momentum(self.momentum, 0.5))
