"""The learned networks as a map to wander in: dots by how alike they are, and a card for each, with its lesson.

    explore_networks(read_atlas())                     # coloured by family
    explore_networks(read_atlas(), colour="hue")       # by how well the hue is read from each

atlas.js draws it; everything it needs is in `NetworksMap.data`, so it works without a kernel.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from course_lib.evaluate.cka import cka_distances, classical_mds
from course_lib.notebook.cards import display, fold, shell, show_drawn
from course_lib.notebook.knobs import picture
from course_lib.notebook.papers_map import FAMILIES
from course_lib.plots.atlas import network_map
from course_lib.plots.drawing import MEANING
from course_lib.runs.atlas import Atlas, Entry

HERE = Path(__file__)
UNTRAINED, UNLISTED = "untrained, raw pixels", "not on the reading list"
STAND_IN = "A picture of the map; run this cell to click a network. The table below leads to the lessons."
SHADES = 12
NO_FAMILY = {UNTRAINED: MEANING["raw pixels"], UNLISTED: "#222222"}


def family_of(entry: Entry) -> str:
    """Its paper's family on the reading list, or why it has none."""
    return entry.family or (UNLISTED if entry.kind in ("learned", "again") else UNTRAINED)


def family_colour(entry: Entry) -> str:
    """The colour of its family, as on the map of papers; grey for what was not trained, black for what is not there."""
    return FAMILIES[entry.family][0] if entry.family in FAMILIES else NO_FAMILY[family_of(entry)]


def shade(value: float) -> str:
    """The colour of a value in [0, 1]; grey for NaN."""
    return "#8884" if math.isnan(value) else to_hex(colormaps["cividis"](min(1.0, max(0.0, value))))


class NetworksMap:
    """The map as `explore_networks` makes it; it shows itself in a notebook."""

    def __init__(self, atlas: Atlas, data: dict):
        self.atlas, self.data = atlas, data
        self._widget: Any = None

    def figure(self, names: bool = True) -> Figure:
        """The map as a still picture, coloured as at the start; names: with those of the learned networks."""
        entries, cause = self.atlas.entries, self.data["colour"]
        colours = [family_colour(e) if cause == "family" else shade(e.factors.get(cause, math.nan)) for e in entries]
        tones = {name: tone for name, (tone, _) in FAMILIES.items()} | NO_FAMILY
        there = {family_of(entry) for entry in entries}
        legend = {name: tone for name, tone in tones.items() if name in there} if cause == "family" else {
            f"{cause} read: {value:g}": shade(value) for value in (0, 0.5, 1)}
        hollow = [entry.kind != "learned" for entry in entries]
        titles = ["" if empty or not names else entry.title for entry, empty in zip(entries, hollow)]
        return network_map(self.data["points"], titles, colours, hollow, legend)

    def links(self) -> str:
        """Every network and its lesson as an HTML table, a row a family."""
        rows = []
        for family in (*FAMILIES, UNLISTED):
            shown = [e for e in self.atlas.entries if family_of(e) == family and e.kind == "learned" and e.lesson]
            inner = ", ".join(f"<a href='{e.lesson}.ipynb'>{escape(e.title)} ({e.lesson[:2]})</a>" for e in shown)
            rows += [f"<tr><td style='text-align:left'>{family}</td><td style='text-align:left'>{inner}</td></tr>"
                     ] if inner else []
        return f"<table>{''.join(rows)}</table>"

    def __repr__(self) -> str:
        return f"<NetworksMap of {len(self.atlas.entries)} representations>"

    def _ipython_display_(self) -> None:
        """The widget, a picture for where it is not drawn, and the table of lessons."""
        if shell() is None:
            print(repr(self))
            return
        self._widget = self._widget or _widget(self.data)
        show_drawn(self._widget, "atlas", STAND_IN, picture(self.figure(), repr(self)))
        display({"text/html": fold("All networks, each with its lesson", self.links()), "text/plain": repr(self)})


def _widget(data: dict) -> Any:
    import anywidget  # loads ipywidgets, which a script does not need
    import traitlets

    class Explorer(anywidget.AnyWidget):
        _esm, _css = HERE.with_suffix(".js"), HERE.with_suffix(".css")
        data = traitlets.Dict().tag(sync=True)

    return Explorer(data=data)


def explore_networks(atlas: Atlas, colour: str = "family", measure: str = "debiased CKA", near: int = 6) -> NetworksMap:
    """The representations of an atlas on a flat map of their distances (classical MDS).

    colour: "family", "encoder" or a cause, at the start. near: how many neighbours a card lists. ValueError for another
    colour or measure.
    """
    causes = list(next((entry.factors for entry in atlas.entries if entry.factors), {}))
    if colour not in ("family", "encoder", *causes):
        raise ValueError(f"colour is {colour!r}; expected family, encoder, {', '.join(causes)}")
    points = classical_mds(cka_distances(atlas.table(measure)))
    encoders = list(dict.fromkeys(entry.encoder for entry in atlas.entries))
    tones = dict(zip(encoders, ("#0072B2", "#56B4E9", "#D55E00", MEANING["raw pixels"])))
    networks = [{
        "name": e.name, "title": e.title, "kind": e.kind, "family": family_of(e), "encoder": e.encoder,
        "lesson": e.lesson, "knn": None if math.isnan(e.knn) else e.knn, "x": x, "y": y,
        "colours": {"family": family_colour(e), "encoder": tones[e.encoder]},
        "read": {cause: None if math.isnan(value) else value for cause, value in e.factors.items()},
        "near": atlas.nearest(e.name, near, measure)} for e, (x, y) in zip(atlas.entries, points.tolist())]
    legends = {"family": {family_of(e): family_colour(e) for e in atlas.entries},
               "encoder": {name: tones[name] for name in encoders}}
    return NetworksMap(atlas, {"networks": networks, "causes": causes, "colour": colour, "measure": measure,
                               "legends": legends, "points": points.tolist(),
                               "scale": [shade(i / (SHADES - 1)) for i in range(SHADES)]})
