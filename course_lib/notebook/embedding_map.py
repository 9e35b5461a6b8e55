"""The embedding explorer: images as points, placed by their features, to look at, pick and group.

    explore_embedding(learned("simclr"), test)                                        # the path of a learned network
    explore_embedding({"SimCLR": learned("simclr"), "BYOL": learned("byol")}, test)   # two, with linked selection
    explore_embedding({"mine": embed(method, test), "pixels": pixels}, test)          # features (N, D) of N images

embedding_map.js draws it, in a notebook and in a page (`EmbeddingMap.html`); everything it needs is in
`EmbeddingMap.data`, so it works without a kernel. Below it stands a picture, for where widgets are not drawn.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from course_lib.data.images import ImageSet
from course_lib.evaluate.measures import check_features
from course_lib.evaluate.neighbours import nearest
from course_lib.models.layers import normalize
from course_lib.notebook.cards import WIDGET, display, shell
from course_lib.notebook.knobs import bundle_of
from course_lib.plots import CYCLE, embedding, project
from course_lib.runs.networks import Journey, Learned

MOST = 10_000   # points that a browser moves smoothly
STILL = 500     # points of the picture that a saved notebook keeps
CODES = 64      # colours of a scale
SPAN = 65535    # coordinates are uint16
HERE = Path(__file__)
HELP = ("Each point is an image; images whose features point in similar directions are drawn near each other. A flat map "
        "cannot keep everything, so neighbours are found among all features. Point at one to see it, click it for its "
        "neighbours, draw around some for what they share; click beside the points to clear.")
NOTE = ("Bars: empty if the images are as mixed as all images, full if all are alike. The line: of groups of as many "
        "images drawn at random, 19 in 20 agree less.")
Network = Learned | Journey | Tensor


class EmbeddingMap:
    """The map as `explore_embedding` makes it; it shows itself in a notebook. `picked` and `group` follow the clicks.

    data: count, numbers (of the images), title, caption, note, colour (the first cause), scales (colours by kind of
    cause); sheet (None, or all thumbnails as one JPEG of columns x rows); causes: name, kind, names (of categories),
    low, high, values float32 (N,), codes int16 (N,) (which colour; -1: none); networks: name, steps, kept (the share of
    the spread that the map keeps, or None), points uint16 (T, N, 2), neighbours uint16 (T, N, k). Arrays are bytes.
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
        """The maps at the last checkpoint as a picture, of at most 500 images."""
        some = np.linspace(0, self.data["count"] - 1, min(STILL, self.data["count"])).round().astype(int)
        maps = {network["name"]: self.points(i)[-1][some] * (1, -1) for i, network in enumerate(self.data["networks"])}
        labels = None if self._labels is None else self._labels[some]
        thumbnails = None if self._thumbnails is None else self._thumbnails[some]
        return embedding(maps, labels, self._classes, thumbnails=thumbnails, title=self.data["title"], most=40)

    def html(self) -> str:
        """The explorer as a page of its own, without a kernel or a network."""
        data = json.dumps(self.data, default=lambda array: base64.b64encode(array).decode()).replace("<", "\\u003c")
        script, css = (HERE.with_suffix(ending).read_text(encoding="utf-8") for ending in (".js", ".css"))
        return ("<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Embedding explorer</title><style>"
                f":root {{ color-scheme: light dark }}\n{css}</style></head><body><div id='map'></div>"
                f"<script type='application/json' id='data'>{data}</script><script type='module'>\n{script}\n"
                "window.explorer = draw(document.getElementById('map'), "
                "JSON.parse(document.getElementById('data').textContent));</script></body></html>")

    def __repr__(self) -> str:
        names = " and ".join(network["name"] or "features" for network in self.data["networks"])
        return f"<EmbeddingMap of {self.data['count']} images by {names}>"

    def _ipython_display_(self) -> None:
        """The widget, and below it the picture, which the widget hides for as long as it is drawn."""
        if shell() is None:
            print(repr(self))
            return
        self._widget = self._widget or _widget(self.data)
        name = f"emb-{self._widget.model_id[:12]}"
        self._widget.add_class(name)
        display({WIDGET: {"version_major": 2, "version_minor": 1, "model_id": self._widget.model_id}, "text/plain": ""})
