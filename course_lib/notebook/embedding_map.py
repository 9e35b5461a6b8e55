"""The embedding explorer: images as points, placed by their features, to look at, pick and group.

    explore_embedding(learned("simclr"), test)                                        # the path of a learned network
    explore_embedding({"SimCLR": learned("simclr"), "BYOL": learned("byol")}, test)   # two, with linked selection
    explore_embedding({"mine": embed(method, test), "pixels": pixels}, test)          # features (N, D) of N images

embedding_map.js draws it, in a notebook and in a page (`EmbeddingMap.html`); everything it needs is in
`EmbeddingMap.data`, so it works without a kernel. Below it stands a picture, for where widgets are not drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from course_lib.data.images import ImageSet
from course_lib.evaluate.neighbours import nearest
from course_lib.notebook.cards import shell, show_drawn
from course_lib.notebook.flattening import SPAN, coordinates, features_of, flat_maps, kept, turn
from course_lib.notebook.knobs import picture
from course_lib.notebook.pages import Part, offline_page
from course_lib.plots import CYCLE, embedding
from course_lib.runs.networks import COMPONENTS, Journey, Learned

MOST = 10_000   # points that a browser moves smoothly
STILL = 500     # points of the picture that a saved notebook keeps
CODES = 64      # colours of a scale
HERE = Path(__file__)
HELP = ("Each point is an image; images with similar features are drawn near each other. A flat map cannot keep "
        "everything, so neighbours are found by {}. Point at an image to see it, click it "
        "for its neighbours, draw around some for what they share; click beside the points to clear.")
NOTE = ("Bars: empty if the images are as mixed as all images, full if all are alike. The line: of groups of as many "
        "images drawn at random, 19 in 20 agree less.")
STAND_IN = "A picture of the map; run this cell to explore it."
Network = Learned | Journey | Tensor


class EmbeddingMap:
    """The map as `explore_embedding` makes it; it shows itself in a notebook. `picked` and `group` follow the clicks.

    data: count, numbers (of the images, or the names of their files), title, caption, note, by (what finds neighbours),
    colour (the first cause), scales (colours by kind of cause); sheet (None, or all thumbnails as one JPEG of columns x
    rows); causes: name, kind, names (of categories), low, high, values float32 (N,), codes int16 (N,) (which colour;
    -1: none); networks: name, steps, kept (the share of the spread that the map keeps, or None), points uint16 (T, N,
    2), neighbours uint16 (T, N, k). Arrays are bytes.
    """

    def __init__(self, data: dict, labels: Tensor | None, classes: tuple[str, ...], thumbnails: Tensor | None):
        self.data, self._labels, self._classes, self._thumbnails = data, labels, classes, thumbnails
        self._widget: Any = None

    @property
    def picked(self) -> int | None:
        """The image that was clicked last, None without one."""
        return self._widget.state.get("picked") if self._widget else None

    @property
    def group(self) -> list[int]:
        """The images that were drawn around."""
        return self._widget.state.get("group", []) if self._widget else []

    def points(self, network: int = 0) -> np.ndarray:
        """The map of a network at each of its checkpoints: float32 (T, N, 2) in [0, 1], y downwards."""
        flat = np.frombuffer(self.data["networks"][network]["points"], np.uint16)
        return flat.reshape(-1, self.data["count"], 2).astype(np.float32) / SPAN

    def figure(self) -> Figure:
        """The maps at the last checkpoint as a picture, of at most 500 images, coloured by the first cause."""
        some = np.linspace(0, self.data["count"] - 1, min(STILL, self.data["count"])).round().astype(int)
        maps = {network["name"]: self.points(i)[-1][some] * (1, -1) for i, network in enumerate(self.data["networks"])}
        labels, classes, more = None if self._labels is None else self._labels[some], self._classes, {}
        for cause in self.data["causes"]:
            if cause["name"] == self.data["colour"]:
                labels = torch.from_numpy(np.frombuffer(cause["codes"], "<i2")[some].astype(np.int64))
                classes, more["legend"] = tuple(cause["names"]), cause["name"]
                if cause["kind"] != "category":
                    ends = (0.0, 1.0) if cause["kind"] == "circular" else (cause["low"], cause["high"])
                    more |= {"scale": self.data["scales"][cause["kind"]], "ends": ends}
        thumbnails = None if self._thumbnails is None else self._thumbnails[some]
        return embedding(maps, labels, classes, thumbnails=thumbnails, title=self.data["title"], most=24, **more)

    def html(self) -> str:
        """The explorer as a page of its own, without a kernel or a network."""
        return offline_page("Embedding explorer", self.part())

    def part(self, listen: str = "() => {}") -> Part:
        """The explorer as a part of a page, `window.explorer` there. listen: JavaScript that hears of each change."""
        return Part("embedding_map", self.data, f"window.explorer = draw(element, data, {listen});")

    def __repr__(self) -> str:
        names = " and ".join(network["name"] or "features" for network in self.data["networks"])
        return f"<EmbeddingMap of {self.data['count']} images by {names}>"

    def _ipython_display_(self) -> None:
        """The widget, and below it a note and the picture, which stand there when the widget does not."""
        if shell() is None:
            print(repr(self))
            return
        self._widget = self._widget or _widget(self.data)
        show_drawn(self._widget, "emb", STAND_IN, picture(self.figure(), repr(self)))


def _widget(data: dict) -> Any:
    import anywidget  # loads ipywidgets, which a script does not need
    import traitlets

    class Explorer(anywidget.AnyWidget):
        _esm, _css = HERE.with_suffix(".js"), HERE.with_suffix(".css")
        data = traitlets.Dict().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)

    return Explorer(data=data)


# ------------------------------------------------------------------------------------------------ from features to data
def explore_embedding(networks: Network | Mapping[str, Network], images: ImageSet | None = None,
                      colour: str = "class", method: str | None = None, title: str = "", k: int = 8,
                      classes: Sequence[str] = ()) -> EmbeddingMap:
    """A map of images by one or two networks: thumbnails, neighbours, what a group shares, causes, checkpoints.

    networks: one, or name -> network; each a `Learned` or its path, features (N, D), or those of several checkpoints
    (T, N, D). images: the N images, or the whole test set of a learned network; without, points have the path's labels
    for colours (named by `classes`) and there are no thumbnails. colour: the first cause. k: neighbours of each.
    method: "pca", or "tsne", which keeps neighbours together (half a minute for 12 checkpoints of 500 images, nothing
    where a learned network has them stored). Default: "tsne" where one has, else "pca".

    ValueError: more than two networks, other images in one than in another, more than 10 000 images, unknown colour.
    """
    named = dict(networks) if isinstance(networks, Mapping) else {"": networks}
    if not 1 <= len(named) <= 2:
        raise ValueError(f"{len(named)} networks were given; the map shows one, or two side by side.")
    paths = {name: _path(network, name) for name, network in named.items()}
    first = next(iter(paths.values()))
    count = len(first.numbers)
    for name, path in paths.items():
        if path.numbers.shape != first.numbers.shape or (path.numbers != first.numbers).any():
            raise ValueError(f"{name!r} has {len(path.numbers)} images, and they are not the {count} images of "
                             f"{next(iter(paths))!r}; give features of the same images, in the same order.")
    if not k < count <= MOST:
        raise ValueError(f"there are {count} images; the map takes {k + 1} to {MOST:,}. Give it some of them.")
    if images is not None and len(images) != count:
        if len(images) <= int(first.numbers.max()):
            raise ValueError(f"images has {len(images)} of them, but the features are of {count}, the last of them "
                             f"number {int(first.numbers.max())}; give the {count} images, or the whole test set.")
        images = images.select(torch.from_numpy(first.numbers.astype(np.int64)))
    labels = first.labels if images is None or images.labels is None else images.labels
    labels = torch.as_tensor(labels) if len(labels) else None
    if len(first.labels) and (labels != torch.as_tensor(first.labels)).any():
        raise ValueError("images has other labels than the learned network's path: give the test set of its training.")
    classes = tuple(classes) or (() if images is None else images.classes)
    causes = _causes(labels, classes, images)
    names = [cause["name"] for cause in causes]
    colour = colour.replace("_", " ")
    if colour not in names and colour != "class":
        raise ValueError(f"colour is {colour!r}; the known causes are: {', '.join(names) or 'none'}.")
    method = method or ("tsne" if any(path.maps is not None for path in paths.values()) else "pca")
    frames = [flat_maps(path, method) for path in paths.values()]
    if len(frames) == 2:  # the second map is turned to lie like the first
        frames[1] = frames[1] @ turn(frames[1][-1], frames[0][-1])
    neighbours = [torch.stack([nearest(f, k) for f in features_of(path)]) for path in paths.values()]
    files = list(images.names) if images is not None else []
    stored = any(isinstance(network, Learned | Journey) for network in named.values())
    by = f"{COMPONENTS} principal components" if stored else "all features"
    data = {
        "count": count, "numbers": files or first.numbers.tolist(), "title": title, "caption": HELP.format(by),
        "note": NOTE, "by": by,
        "colour": colour if colour in names else next(iter(names), ""), "causes": causes,
        "sheet": None if images is None else _sheet(images.images),
        "scales": {"category": list(CYCLE), "number": _scale("cividis"), "circular": _scale("twilight_shifted")},
        "networks": [{"name": name, "steps": path.steps.tolist() if len(path.steps) > 1 else [None],
                      "kept": kept(path, frame) if method == "pca" else None,
                      "neighbours": near.numpy().astype("<u2").tobytes(), **coordinates(frame)}
                     for (name, path), frame, near in zip(paths.items(), frames, neighbours)]}
    generated = images is not None and images.factors  # a photograph is not drawn into a notebook that may be published
    return EmbeddingMap(data, labels, classes, images.images if images is not None and generated else None)


def _path(network: Network, name: str) -> Journey:
    if isinstance(network, Learned):
        if network.path is None:
            raise ValueError(f"the learned network {name or network.record.id} has no path (its .npz file); restore it "
                             "from the repository, or give features: embed(learned.method, images).")
        return network.path
    if isinstance(network, Journey):
        return network
    features = torch.as_tensor(network).detach().float().cpu()
    features = features[None] if features.ndim == 2 else features
    if features.ndim != 3:
        raise ValueError(f"features of {name!r} have shape {tuple(features.shape)}; expected (N, D), or (T, N, D) of T "
                         "checkpoints.")
    steps, numbers = np.arange(len(features)), np.arange(features.shape[1])
    return Journey(steps, features.numpy(), np.array([], np.int16), numbers)


def _causes(labels: Tensor | None, classes: tuple[str, ...], images: ImageSet | None) -> list[dict]:
    found = [] if labels is None else [("class", "category", labels.float(), classes)]
    for name, values in (images.factors if images is not None else {}).items():
        if not (name == "class" and found):
            found.append((name, images.kinds.get(name, "number") if images is not None else "", values, ()))
    return [_cause(*parts) for parts in found]


def _cause(name: str, kind: str, values: Tensor, names: tuple[str, ...]) -> dict:
    known = values[values.isfinite()]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if kind == "category":
        if names and high >= len(names):
            raise ValueError(f"there are {len(names)} classes, but the labels reach {high:.0f}; name all of them.")
        names, codes = names or tuple(str(i) for i in range(int(high) + 1)), values
    else:
        share = values if kind == "circular" else (values - low) / ((high - low) or 1.0)
        names, codes = (), (share * CODES).floor().clamp(0, CODES - 1)
    codes = torch.where(values.isfinite(), codes, -1.0)
    return {"name": name.replace("_", " "), "kind": kind, "names": list(names), "low": low, "high": high,
            "values": values.numpy().astype("<f4").tobytes(), "codes": codes.numpy().astype("<i2").tobytes()}


def _sheet(images: Tensor) -> dict:
    """All images (N, 3, H, W) as one JPEG of small squares."""
    count, cell = len(images), min(images.shape[-1], 64 if len(images) <= 1000 else 32)
    columns = math.ceil(count ** 0.5)
    rows = math.ceil(count / columns)
    if images.shape[-2:] != (cell, cell):
        small = torch.nn.functional.interpolate(images.float(), (cell, cell), mode="area")
        images = small.round().to(torch.uint8)
    squares = torch.cat([images, images.new_zeros(rows * columns - count, 3, cell, cell)])
    sheet = squares.view(rows, columns, 3, cell, cell).permute(0, 3, 1, 4, 2).reshape(rows * cell, columns * cell, 3)
    out = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(out, "JPEG", quality=85, subsampling=0)
    return {"columns": columns, "rows": rows, "bytes": out.getvalue()}


def _scale(name: str) -> list[str]:
    return [matplotlib.colors.to_hex(colour) for colour in plt.get_cmap(name)(np.linspace(0, 1, CODES))]
