"""Figures of lesson 12: they are drawn, and show the numbers that they are given."""

from __future__ import annotations

import torch

from course_lib.augment.masks import patch_mask
from course_lib.methods.masked.mae import MAE
from course_lib.models.vit import ViT
from course_lib.notebook.token_toys import alike_positions
from course_lib.plots import masked as figures

VISIBLE = patch_mask(8, 8, 0.75, torch.Generator().manual_seed(0))
IMAGES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def rows(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_a_copy_and_its_curves():
    drawn = figures.neighbour_copy(IMAGES[:6], VISIBLE[:6], IMAGES[:6], {2: {(0.5, 0.4), (0.25, 0.3)}, 4: [(0.5, 0.8)]},
                                   2, (0.5, 0.4))
    left, right = drawn.axes
    assert left.get_title(loc="left") == "shown, and filled: error 0.40"
    assert list(right.lines[0].get_xdata()) == [0.25, 0.5] and list(right.lines[2].get_ydata()) == [0.4]
    assert [line.get_alpha() for line in right.lines[:2]] == [1.0, 0.35]


def test_positions_and_the_path_of_tokens():
    found = alike_positions("added up", (2, 5))
    left, right, *_ = figures.alike_positions(found.table, found.cosine, (2, 5), found.twins).axes
    assert left.get_title(loc="left") == "cosine with x; 1 twin(s)" and right.lines[0].get_xdata()[0] == 21
    words = [text.get_text() for text in figures.token_path().axes[0].texts]
    assert words.count("m") == 6 and words.count("c") == 2 and "encoder:\nc and 2 patches" in words


def test_drawings_are_named_with_their_errors():
    network = MAE(ViT(32, patch=4, dim=12, depth=1, heads=2)).eval()
    assert rows(figures.opening(network, IMAGES, VISIBLE))[0] == "16 of 64 patches"
    found = {"copy": (IMAGES, 0.25)}
    assert rows(figures.drawings(IMAGES, VISIBLE, found)) == ["shown", "copy\nerror 0.25", "image"]
    assert rows(figures.drawings(IMAGES, VISIBLE, found, whole=False)) == ["shown", "copy\nerror 0.25"]
    drawn = figures.drawn_by_ratio(IMAGES[:2], {0.5: VISIBLE[:2], 0.9: VISIBLE[:2]}, {"MAE": [IMAGES[:2]] * 2})
    assert rows(drawn) == ["image", "shown", "MAE"]
    assert [text.get_text() for text in drawn.axes[0].get_xticklabels()] == ["50% hidden"] * 2 + ["90% hidden"] * 2


def test_trainings_are_dots():
    values = {name: [1.0, 2.0] for name in [*figures.BROKEN, *(f"hidden-{r}" for r in (0.25, 0.5, 0.75, 0.9))]}
    left, middle, right = figures.mae_trainings(values, values, values).axes
    assert len(left.lines) == 3 and len(middle.lines) == 4 and len(right.lines) == 9
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["fine-tuned", "linear probe"]
