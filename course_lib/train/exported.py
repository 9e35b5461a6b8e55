"""What somebody needs to use an exported backbone elsewhere: its input, its output, and three lines that run it."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch

from course_lib.augment.pixels import MEAN, STD
from course_lib.methods.base import Method
from course_lib.train.checkpoint import export

EXTRAS = {"safetensors": ("safetensors",), "onnx": ("onnx", "onnxscript")}  # pyproject's, by the packages they need


def sidecar(method: Method, file: str) -> dict[str, Any]:
    """Plain values about the backbone exported into `file`; `recipe` is three lines of Python.

    They turn `images`, uint8 (B, 3, S, S), into `features`, float32 (B, dim).
    """
    name, size, options = (method.settings[key] for key in ("backbone", "image_size", "backbone_options"))
    backbone: Any = method.evaluated
    if name.startswith("resnet"):
        stem = "; net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()"
        build = f"net = torchvision.models.{name}(); net.fc = torch.nn.Identity(){stem if backbone.small else ''}"
    else:
        arguments = "".join(f", {key}={value!r}" for key, value in options.items())
        build = f"net = course_lib.models.backbones.build_backbone('{name}', {size}{arguments})"
    token = getattr(backbone, "pool", "mean") == "class"
    return {
        "backbone": name, "options": options, "dim": backbone.dim,
        "input": f"RGB, float32 (B, 3, {size}, {size}); the short side resized to {size}, the centre cropped",
        "size": size,
        "scaling": {"mean": [MEAN] * 3, "std": [STD] * 3, "rule": f"(pixels / 255 - {MEAN}) / {STD}, not ImageNet's"},
        "pooling": "the class token" if token else "mean over all positions",
        "output": f"features (B, {backbone.dim}); there is no classifier: fc = Identity",
        "recipe": [build, f"net.load_state_dict(torch.load({file!r}, weights_only=True))",
                   f"features = net.eval()((images / 255 - {MEAN}) / {STD})"]}


def require(extra: str) -> None:
    """ValueError that says what to install, where a package of the extra is missing."""
    missing = [package for package in EXTRAS[extra] if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(f"--{extra} needs the package {' and '.join(missing)}, which is not installed here: "
                         f"pip install {' '.join(missing)}, or leave --{extra} out.")


def as_safetensors(method: Method) -> bytes:
    """The exported state dict as a safetensors file. ValueError without the package."""
    require("safetensors")
    from safetensors.torch import save  # type: ignore[import-not-found]

    return save({name: tensor.contiguous() for name, tensor in export(method).items()})


def as_onnx(method: Method) -> bytes:
    """The backbone as an ONNX file: "images", scaled float32 (B, 3, S, S), to "features" (B, dim), for any B.

    ValueError without the packages.
    """
    require("onnx")
    size = method.settings["image_size"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.onnx"
        program = torch.onnx.export(method.evaluated.cpu().eval(), (torch.zeros(2, 3, size, size),), dynamo=True,
                                    input_names=["images"], output_names=["features"], verbose=False,
                                    dynamic_shapes=({0: torch.export.Dim("batch")},))
        assert program is not None  # dynamo=True returns one
        program.save(str(path), external_data=False)
        return path.read_bytes()
