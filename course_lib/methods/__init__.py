"""The methods, one paper a file, in the study group's sections; built by name with `build_method`.

A new method is one file, whose class derives from `base.Method` (the contract), and one line in METHODS.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict
from typing import Any

from torch import nn

from course_lib.augment.views import Augment
from course_lib.methods.base import Method
from course_lib.models.backbones import build_backbone, options_of

# name -> module of this package and class
METHODS = {
    "align-uniform": "contrastive.align_uniform:AlignUniform",
    "vicreg": "contrastive.vicreg:VICReg",
    "simclr": "contrastive.simclr:SimCLR",
    "simclr-v2": "contrastive.simclr_v2:SimCLRv2",
    "moco": "contrastive.moco:MoCo",
    "moco-v2": "contrastive.moco:MoCoV2",
    "byol": "contrastive.byol:BYOL",
    "simsiam": "contrastive.simsiam:SimSiam",
    "swav": "contrastive.swav:SwAV",
    "barlow-twins": "contrastive.barlow_twins:BarlowTwins",
    "spark": "masked.spark:SparK",
    "mae": "masked.mae:MAE",
    "simmim": "masked.simmim:SimMIM",
    "beit": "masked.beit:BEiT",
    "dino": "masked.dino:DINO",
    "ibot": "masked.ibot:IBOT",
    "dmae": "masked.dmae:DMAE",
}


def method_class(name: str) -> type[Method]:
    """The class of a method by name."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(sorted(METHODS))}")
    module, _, cls = METHODS[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)


def build_method(name: str, backbone: str | nn.Module = "convnet", image_size: int = 32, *,
                 backbone_options: dict[str, Any] | None = None, **options: Any) -> Method:
    """The method over a backbone (an nn.Module, or a name for `backbones.build_backbone`); options go to its class.

    `method.settings` keeps what it was built from (plain values), so that `checkpoint.load_method` can rebuild it; a
    backbone given as a module is not described there. augment= and other= may be dicts of Augment's fields. ValueError
    for an unknown option.
    """
    cls = method_class(name)
    kind = backbone if isinstance(backbone, str) else ""
    own = cls.backbone_options if kind.startswith("vit") else cls.resnet_options if kind.startswith("resnet") else {}
    backbone_options = {**own, **(backbone_options or {})}
    settings = {"method": name, "image_size": image_size, "backbone": None, "backbone_options": backbone_options,
                "options": {k: asdict(v) if isinstance(v, Augment) else v for k, v in options.items()}}
    known = options_of(cls)
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    for key in ("augment", "other"):
        if isinstance(options.get(key), dict):
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options[key].items()}
            options[key] = Augment(**fields)
    if isinstance(backbone, str):
        settings["backbone"] = backbone
        backbone = build_backbone(backbone, image_size, **backbone_options)
    method = cls(backbone, image_size=image_size, **options)
    method.settings = settings
    return method
