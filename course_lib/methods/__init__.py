"""The methods, one paper a file, in the study group's sections; built by name with `build_method`.

A new method is one file, whose class derives from `base.Method` (the contract), and one line in METHODS.
"""

from __future__ import annotations

import copy
import importlib
from dataclasses import asdict, fields, replace
from numbers import Real
from typing import Any

import torch
from torch import nn

from course_lib.augment.views import Augment
from course_lib.methods.base import Method
from course_lib.models.backbones import build_backbone, check_options, options_of

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
    "roco": "contrastive.roco:RoCo",
    "relic": "contrastive.relic:ReLIC",
    "dcl": "contrastive.negatives:DCL",
    "hcl": "contrastive.negatives:HCL",
    "adpclr": "contrastive.adpclr:AdpCLR",
    "eqco": "contrastive.eqco:EqCo",
    "mochi": "contrastive.mochi:MoCHi",
    "imco": "contrastive.imco:ImCo",
    "unmix": "contrastive.unmix:UnMix",
    "looc": "contrastive.looc:LooC",
    "hieraug": "contrastive.hieraug:HierAug",
    "lenses": "contrastive.lenses:Lenses",
    "pixpro": "dense.pixpro:PixPro",
    "vader": "dense.vader:VADeR",
    "hyperbolic": "metric.hyperbolic:Hyperbolic",
    "spark": "masked.spark:SparK",
    "mae": "masked.mae:MAE",
    "simmim": "masked.simmim:SimMIM",
    "beit": "masked.beit:BEiT",
    "dino": "masked.dino:DINO",
    "ibot": "masked.ibot:IBOT",
    "dmae": "masked.dmae:DMAE",
    "mice": "clustering.mice:MiCE",
    "gatcluster": "clustering.gatcluster:GATCluster",
    "scan": "clustering.scan:SCAN",
    "ruc": "clustering.ruc:RUC",
    "amdim": "information.amdim:AMDIM",
    "cpc": "information.cpc:CPC",
    "yadim": "information.yadim:YADIM",
    "cmc": "information.cmc:CMC",
    "dim": "information.dim:DIM",
    "framework": "information.framework:Framework",
    "sela": "clustering.sela:SeLa",
    "local-aggregation": "clustering.local_aggregation:LocalAggregation",
    "deepcluster": "clustering.deepcluster:DeepCluster",
    "drlim": "pretext.drlim:DrLIM",
    "npid": "pretext.npid:NPID",
    "rotation": "pretext.rotation:Rotation",
    "relative-patch": "pretext.relative_patch:RelativePatch",
    "exemplar": "pretext.exemplar:Exemplar",
    "jigsaw": "pretext.jigsaw:Jigsaw",
    "pirl": "pretext.pirl:PIRL",
    "supcon": "metric.supcon:SupCon",
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
    backbone given as a module is not described there. augment= and other= may be dicts of some of Augment's fields, the
    others as the method has them; views always have the size `image_size`. ValueError for an unknown option.
    """
    cls = method_class(name)
    kind = backbone if isinstance(backbone, str) else ""
    own = (cls.backbone_options if kind.startswith("vit") else cls.resnet_options if kind.startswith("resnet") else
           cls.convnet_options if kind == "convnet" else {})
    backbone_options = {**own, **(backbone_options or {})}
    settings: dict[str, Any] = {"method": name, "image_size": image_size, "backbone": None,
                                "backbone_options": backbone_options, "options": dict(options)}
    check_options(name, cls, options)
    if isinstance(backbone, str):
        settings["backbone"] = backbone
        backbone = build_backbone(backbone, image_size, **backbone_options)
    given = {key: options.pop(key) for key in ("augment", "other") if options.get(key) is not None}
    views = {key: _views(key, value, cls, backbone, image_size, options) for key, value in given.items()}
    settings["options"] |= {key: asdict(view) for key, view in views.items()}
    method = cls(backbone, image_size=image_size, **options, **views)
    for option, value in options.items():  # the class has said what it knows better; a place counted from the end stays
        default = options_of(cls)[option].default
        if isinstance(value, Real) and value < 0 and not (isinstance(default, Real) and default < 0):
            raise ValueError(f"{option} is {value!r}; {name} expects 0 or more")
        if option == "momentum" and isinstance(value, (int, float)) and value > 1:
            raise ValueError(f"momentum is {value!r}; {name} expects the share that stays, from 0 to 1")
    if empty := [key for key, parameter in method.named_parameters() if not parameter.numel()]:
        raise ValueError(f"{name} cannot learn with {options}: {empty[0]} has no weights; expected widths of 1 or more")
    method.settings = settings
    return method


def _views(key: str, given: Any, cls: type[Method], backbone: nn.Module, image_size: int,
           options: dict[str, Any]) -> Augment:
    """The views that an option describes, of `image_size` pixels; of a dict, the other fields are the method's own."""
    if isinstance(given, Augment):
        return replace(given, size=image_size)
    known = {field.name for field in fields(Augment)}
    wrong = given if not isinstance(given, dict) else next((name for name in given if name not in known), None)
    if wrong is not None:
        raise ValueError(f"{key} has {wrong!r}; expected fields of Augment with their values, such as "
                         f'{key}={{"jitter_p": 0}}: {", ".join(sorted(known))}')
    with torch.random.fork_rng(devices=[]):  # the run's own weights are drawn as if nothing had been asked here
        own = getattr(cls(copy.deepcopy(backbone), image_size=image_size, **options), key)
    changed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return replace(own, **{**changed, "size": image_size})
