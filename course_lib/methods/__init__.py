"""The methods, one paper a file, in the study group's own sections; built by name with `build_method`.

A method is an nn.Module that `course_lib.train.fit` can train:

- `views(batch, generator)`: what the method sees of a `data.Batch`
- `loss(views, progress)`: a dict with "loss" and the named parts that a lesson plots; "embedding", if there, is what
  the collapse diagnostics measure; progress in [0, 1] is counted in steps
- `embed(images)`: (B, D), the representation that is evaluated, from uint8 or float images in [0, 1]
- only where its paper needs them: `param_groups(weight_decay)`, `before_update()`, `after_update(progress)`,
  `on_epoch(epoch)`
"""

from __future__ import annotations

import importlib

# name -> (module below this package, class); a new method joins by one line
METHODS = {
    "vicreg": ("contrastive.vicreg", "VICReg"),
    "spark": ("masked.spark", "SparK"),
}


def method_class(name: str):
    """The class of a method by name."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(sorted(METHODS))}")
    module, cls = METHODS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)


def build_method(name: str, backbone, image_size: int = 32, **options):
    """The method over a backbone (an nn.Module, or a name for `backbones.build_backbone`)."""
    if isinstance(backbone, str):
        from ..backbones import build_backbone

        backbone = build_backbone(backbone, image_size)
    return method_class(name)(backbone, image_size=image_size, **options)
