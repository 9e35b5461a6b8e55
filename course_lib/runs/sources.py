"""Trained networks that a method begins with: read by the folder of their run, or by the name of a learned network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from course_lib.methods import METHODS, build_method, method_class
from course_lib.methods.base import ClusteringMethod, Method
from course_lib.models.backbones import options_of
from course_lib.runs.networks import learned
from course_lib.train.checkpoint import MALFORMED, CheckpointError, load_method


def trained_network(source: str | Path, on: str = "shapes") -> Method:
    """The trained method of a run's folder or last.pt, or the one that `learned(source, on)` gives, in evaluation mode.

    ValueError where there is neither, `CheckpointError` for a file that cannot be used.
    """
    if Path(source).expanduser().exists():
        return load_method(source)
    if str(source) in METHODS:
        return learned(str(source), on).method
    raise ValueError(f"there is no run {source}, and no method of that name: give the folder of a run (that of its "
                     "last.pt), or a learned network such as simclr")


def sources_of(name: str, options: dict[str, Any], on: str = "shapes") -> dict[str, Method]:
    """The networks that the options of method `name` name (its `begins_with`), read, in that order.

    on: the images that a learned network has been trained on.
    """
    given = {option: options[option] for option in method_class(name).begins_with if options.get(option)}
    if wrong := [option for option, source in given.items() if not isinstance(source, (str, Path))]:
        raise ValueError(f"{wrong[0]} is {given[wrong[0]]!r}; expected the folder of a run, or the name of a learned "
                         "network such as simclr")
    with torch.random.fork_rng(devices=[]):  # the run's own weights are drawn as if nothing had been read
        return {option: trained_network(source, on) for option, source in given.items()}


def build_on(name: str, image_size: int | None = None, on: str = "shapes", **options: Any) -> Method:
    """`build_method` over the backbone of the networks that the options name, which the method then begins with.

        build_on("scan", pretext="out/simclr-photos", clusters=5)

    image_size: by default that of the first of them, whose backbone it is; clusters: that of a clustering among them.
    on: the images of learned networks. ValueError if they do not fit.
    """
    return begun(name, sources_of(name, options, on), image_size, options)


def begun(name: str, networks: dict[str, Method], image_size: int | None = None,
          options: dict[str, Any] | None = None) -> Method:
    """As `build_on`, of networks that have been read already."""
    if not networks:
        raise ValueError(f"{name} begins with no trained network here: it may be given "
                         f"{' and '.join(method_class(name).begins_with) or 'none'}")
    (first, network), options = next(iter(networks.items())), dict(options or {})
    settings = network.settings
    if not settings.get("backbone"):
        raise ValueError(f"{first} was made from a backbone object, so its shape is not known: give build_method that "
                         "backbone, and the network to `begin`")
    groups = [n.clusters for n in networks.values() if isinstance(n, ClusteringMethod)]
    if groups and "clusters" in options_of(method_class(name)):
        options.setdefault("clusters", groups[0])
    method = build_method(name, settings["backbone"], image_size or settings["image_size"],
                          backbone_options=settings["backbone_options"], **options)
    if network.evaluated.state_dict().keys() != method.evaluated.state_dict().keys():
        raise ValueError(f"{first} was trained by {network.title}, whose features come from a network of its own kind "
                         f"({type(network.evaluated).__name__}), and {name} begins with one {settings['backbone']}: "
                         "give it the run of a method that trains one backbone, such as simclr")
    try:
        method.begin(**networks)
    except MALFORMED as error:
        raise CheckpointError(f"the backbone of {first} is not that of {name} for {image_size or 'these'} pixels: take "
                              f"its image size, {settings['image_size']} ({type(error).__name__}: {error})") from error
    return method
