"""The methods, one paper a file, in the study group's own sections; built by name with `build_method`.

A method is an nn.Module that `course_lib.train.fit` can train:

- `views(batch, generator)`: what the method sees of a `data.Batch`
- `loss(views, progress)`: a dict with "loss" and the named parts that a lesson plots; "embedding", if there, is what
  the collapse diagnostics measure; progress in [0, 1] is counted in steps
- `recipe`: settings of `fit` that suit it on small sets; `backbone_options`: what the paper's ViT has, where a name is
  given
- `embed(images)`: (B, D), the representation that is evaluated, from uint8 or float images in [0, 1]
- only where its paper needs them: `prepare(images)` (uint8, before the first step), `param_groups(weight_decay)`,
  `before_update()`, `after_update(progress)`, `on_epoch(epoch)`
"""

from __future__ import annotations

import importlib
from dataclasses import asdict

# name -> (module below this package, class); a new method joins by one line
METHODS = {
    "align-uniform": ("contrastive.align_uniform", "AlignUniform"),
    "vicreg": ("contrastive.vicreg", "VICReg"),
    "simclr": ("contrastive.simclr", "SimCLR"),
    "simclr-v2": ("contrastive.simclr_v2", "SimCLRv2"),
    "moco": ("contrastive.moco", "MoCo"),
    "moco-v2": ("contrastive.moco", "MoCoV2"),
    "byol": ("contrastive.byol", "BYOL"),
    "simsiam": ("contrastive.simsiam", "SimSiam"),
    "swav": ("contrastive.swav", "SwAV"),
    "barlow-twins": ("contrastive.barlow_twins", "BarlowTwins"),
    "spark": ("masked.spark", "SparK"),
    "mae": ("masked.mae", "MAE"),
    "simmim": ("masked.simmim", "SimMIM"),
    "beit": ("masked.beit", "BEiT"),
    "dino": ("masked.dino", "DINO"),
    "ibot": ("masked.ibot", "IBOT"),
    "dmae": ("masked.dmae", "DMAE"),
}


def method_class(name: str):
    """The class of a method by name."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(sorted(METHODS))}")
    module, cls = METHODS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)


def build_method(name: str, backbone="convnet", image_size: int = 32, *, backbone_options: dict | None = None,
                 **options):
    """The method over a backbone (an nn.Module, or a name for `backbones.build_backbone`); options go to its class.

    What it was built from stays in `method.settings` (plain values), from which `checkpoint.load_method` builds it
    again; a backbone given as a module is not described there. augment= and other= may be dicts of Augment's fields.
    """
    from ..augment import Augment
    from ..backbones import build_backbone

    vit = isinstance(backbone, str) and backbone.startswith("vit")
    own = getattr(method_class(name), "backbone_options", {}) if vit else {}  # the paper's
    backbone_options = {**own, **(backbone_options or {})}
    settings = {"method": name, "image_size": image_size, "backbone": None, "backbone_options": backbone_options,
                "options": {k: asdict(v) if isinstance(v, Augment) else v for k, v in options.items()}}
    for key in ("augment", "other"):
        if isinstance(options.get(key), dict):
            options[key] = Augment(**{k: tuple(v) if isinstance(v, list) else v for k, v in options[key].items()})
    if isinstance(backbone, str):
        settings["backbone"] = backbone
        try:
            backbone = build_backbone(backbone, image_size, **backbone_options)
        except TypeError as error:
            raise ValueError(f"{backbone} does not take these options: {error}") from error
    try:
        method = method_class(name)(backbone, image_size=image_size, **options)
    except TypeError as error:
        raise ValueError(f"{name} does not take these options: {error}") from error
    method.settings = settings
    return method
