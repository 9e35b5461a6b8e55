"""Figures of masked convolutional networks."""

from __future__ import annotations

import torch

from course_lib.plots import holes


def test_empty_positions_are_white():
    x = torch.ones(1, 2, 4, 4)
    x[..., :2] = 0
    pictures = holes.strengths([x])
    assert pictures.shape == (1, 3, 32, 32) and bool((pictures[..., :16] == 1).all())
    assert not bool((pictures[..., 16:] == 1).all()) and holes.framed(pictures).shape == (1, 3, 34, 34)


def test_figures_say_what_they_show():
    maps = {name: [torch.ones(1, 1, 8, 8)] * 3 for name in ("ordinary", "kept")}
    figure = holes.closing(maps, {name: [0.25, 0.5, 1.0] for name in maps}, 1)
    assert figure.axes[0].get_title("left") == "ordinary: 50%"
    assert len(holes.stored_scales({"a": [1.0, 0.5], "b": [1.0, 2.0]}).axes[0].lines) == 3
    values = {"over all positions": torch.randn(50), "over visible ones": torch.randn(50), "found": torch.zeros(9)}
    assert len(holes.after_norms(values).axes) == 1
    assert len(holes.seeds({"x": {"un": [1.0, 2.0], "SparK": [1.0]}, "y": {"un": [1.0]}}).axes) == 2
    words = {text.get_text() for text in holes.hierarchy(torch.eye(4).bool()).axes[0].texts}
    assert {"image, masked", "filled", "$d_3$"} <= words
