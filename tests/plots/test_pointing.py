"""Figures of a network that points."""

from __future__ import annotations

import torch

from course_lib.plots import pointing
from course_lib.plots.drawing import GREEN, MEANING, PINK, THIS


def test_light_falls_where_the_map_says():
    images, maps = torch.ones(1, 3, 2, 2), torch.tensor([[[1.0, 0.0], [0.5, 0.0]]])
    assert torch.allclose(pointing.lit(images, maps, dark=0.2)[0, 0], torch.tensor([[1.0, 0.2], [0.6, 0.2]]))
    assert torch.allclose(pointing.lit((255 * images).byte(), maps, dark=0.0)[0, 2], maps[0])


def test_the_drawing_has_both_answers():
    texts = {text.get_text() for text in pointing.two_heads().axes[0].texts}
    assert {"answer p", "answer $p^a$"} <= texts


def test_pointed_has_a_panel_for_each_network_and_the_shares():
    places = {"untrained": (torch.rand(5), torch.rand(5)), "ours": (torch.rand(5), torch.rand(5))}
    first, second, bars = pointing.pointed(places, {"its own": 0.4, "always the same": 0.3, "true centre": 0.5}).axes
    grey, blue = (axes.collections[0].get_facecolor()[0, :3] for axes in (first, second))
    assert [round(255 * float(v)) for v in grey] == [int(MEANING["random encoder"][i:i + 2], 16) for i in (1, 3, 5)]
    assert [round(255 * float(v)) for v in blue] == [int(THIS[i:i + 2], 16) for i in (1, 3, 5)]
    assert [round(bar.get_width()) for bar in bars.patches] == [40, 30, 50]
    assert [text.get_text() for text in bars.texts] == ["40%", "30%", "50%"]
    assert bars.patches[2].get_facecolor()[1] > 0.6 and GREEN


def test_by_hand_shows_both_answers():
    figure = pointing.by_hand(torch.rand(3, 8, 8), torch.rand(8, 8), torch.rand(4, 4),
                              {"by hand": torch.tensor([0.7, 0.3]), "its own": torch.tensor([0.2, 0.8])}, 0.5)
    assert figure.axes[2].get_title(loc="left") == "50% of the attention on the object"
    assert [round(float(bar.get_height()), 1) for bar in figure.axes[2].patches] == [0.7, 0.3, 0.2, 0.8]


def test_wanted_marks_the_best():
    loss = torch.arange(12.0).view(3, 4)
    left = pointing.wanted(loss, torch.linspace(0, 1, 4), torch.linspace(0, 1, 3), [(0, 0), (2, 3)], "all",
                           {"one": torch.eye(3), "two": torch.eye(3)}).axes[0]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in left.lines] == [(0.0, 0.0), (1.0, 1.0)]


def test_sheets_put_the_surest_first_and_leave_empty_places_white():
    images = torch.arange(4).view(4, 1, 1, 1).expand(4, 3, 5, 5).float() / 10
    figure = pointing.sheets(images, torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.9, 0.5, 0.4]),
                             torch.tensor([[2.0, 0.0], [1.0, 1.0]]), ("a", "b"), across=3)
    shown = figure.axes[0].images[0].get_array()
    assert abs(shown[2, 2, 0] - 0.1) < 1e-6 and abs(shown[8, 2, 0] - 0.2) < 1e-6 and shown[2, 15, 0] == 1
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["2", "2"]


def test_lines_have_a_dot_for_each_training():
    values = {"ACC": {"all": [0.3, 0.4, 0.5], "one": [0.1, 0.1, 0.1]}}
    (axes,) = pointing.by_task(values, {"all": "#000000", "one": PINK}, {"ACC": 0.125}).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 2, 3, 2, 2]
    assert axes.lines[2].get_color() == PINK


def test_one_line_sorts_its_clusters():
    sizes = [[0.1, 0.9], [0.5, 0.5], [0.0, 1.0]]
    _, middle, _ = pointing.one_line([([1, 2], [2.0, 1.0])] * 3, sizes, 2, PINK, "x", torch.rand(4, 4)).axes
    assert [round(bar.get_height()) for bar in middle.patches] == [90, 10, 50, 50, 100, 0]


def test_whose_begins_with_its_own():
    panels = pointing.whose({"a": {"its own": 0.4, "other": 0.2}, "b": {"its own": 1.0, "other": 0.9}}).axes
    assert [[round(bar.get_width()) for bar in axes.patches] for axes in panels] == [[40, 20], [100, 90]]
