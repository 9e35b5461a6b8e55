"""Figures of votes: what they draw is what they were given."""

from __future__ import annotations

import torch

from course_lib.evaluate.patterns import ThroughNoise
from course_lib.models.patches import normalize_patches, patchify
from course_lib.plots import votes
from course_lib.plots.drawing import MEANING, THIS


def test_each_share_falls_to_one_half_at_its_quantile():
    _, right = votes.straight_border(shares=(0.6, 0.9)).axes
    points = [line for line in right.lines if line.get_marker() == "o"]
    assert [round(float(point.get_xdata()[0]), 2) for point in points] == [0.25, 1.28]
    for curve, point in zip([line for line in right.lines if len(line.get_xdata()) > 2], points):
        nearest = abs(curve.get_xdata() - point.get_xdata()[0]).argmin()
        assert abs(curve.get_ydata()[nearest] - 0.5) < 0.01


def test_an_election_has_a_bar_for_each_class_and_marks_the_true_one():
    pictures = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = votes.election(pictures[0], pictures[1:], torch.tensor([3, 7]), ["disc", "star"], 1, 0.25)
    left, bars = figure.axes
    assert bars.get_title(loc="left") == "star: radius 0.25"
    alone = votes.election(pictures[0], pictures[1:], torch.tensor([6, 4]), ["disc", "star"], 1, 0.0).axes[1]
    assert alone.get_title(loc="left") == "disc leads: no certificate"
    assert left.images and [bar.get_width() for bar in bars.patches] == [3, 7]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["disc", "star (true)"]
    assert bars.patches[1].get_facecolor() != bars.patches[0].get_facecolor()


def test_curves_and_seeds_have_the_same_colour_for_the_same_training():
    radii = torch.linspace(0, 1, 5)
    axes = votes.certified_curves({"mae": 0.5 - radii / 4, "dmae": 0.8 - radii / 4}, radii, 0.6, 0.25, 100).axes[0]
    assert axes.get_title(loc="left") == "noise 0.25, 100 votes: at most a radius of 0.60 (grey)"
    assert [list(line.get_ydata()[:1]) for line in axes.lines[:2]] == [[50.0], [80.0]]
    assert axes.lines[2].get_xdata()[0] == 0.6
    panels = {"at 0": {"mae": [50.0, 55.0], "dmae": [80.0]}, "at 0.5": {"mae": [10.0, 12.0], "dmae": [20.0]}}
    first, second = votes.by_seed(panels, "%").axes
    dots = [line for line in first.lines if line.get_linestyle() == "None"]
    assert [list(line.get_ydata()) for line in dots] == [[50.0, 55.0], [80.0]]
    assert dots[1].get_color() == axes.lines[1].get_color() == THIS
    assert [label.get_text() for label in second.get_xticklabels()] == ["mae", "dmae"]


def test_a_share_over_the_noise_has_the_course_s_colours():
    axes = votes.over_noise((0.0, 0.5), {"DMAE": [1.0, 0.4], "raw pixels": [1.0, 0.9]}, "share", 0.1).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[1.0, 0.4], [1.0, 0.9]]
    assert [line.get_color() for line in axes.lines[:2]] == [THIS, MEANING["raw pixels"]]


def test_the_chosen_number_of_votes_ends_at_its_ceiling():
    shares = torch.tensor([0.5, 1.0])
    figure = votes.what_votes_certify({100: torch.tensor([0.0, 0.4]), 1000: torch.tensor([0.0, 0.6])}, shares,
                                      torch.tensor([0.0, 0.9]), 100, 0.5, 1234)
    title = "100 votes: at most 0.400. A radius of 0.50 takes 1,234 unanimous votes"
    assert figure.axes[0].get_title(loc="left") == title
    levels = [line for line in figure.axes[0].lines if line.get_linestyle() == "--" and len(set(line.get_ydata())) == 1]
    assert [round(float(line.get_ydata()[0]), 3) for line in levels] == [0.4]


def rows(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_turned_answers_and_patches_through_noise_have_their_rows():
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    drawn = votes.turned(images, images + 0.01, [("disc", "star")] * 3)
    assert rows(drawn) == ["image", "changed", "the change,\nten times"]
    assert [text.get_text() for text in drawn.axes[0].get_xticklabels()] == ["disc,\nnow star"] * 3
    own = normalize_patches(patchify(images, 4))[0]
    it = ThroughNoise(images, torch.ones(3, 8, 8, dtype=torch.bool), {"DMAE": own}, {"DMAE": (0.1, 0.25)})
    drawn = votes.drawn_through_noise(images, it)
    assert rows(drawn) == ["image", "seen", "DMAE\n0.10, 0.25"]
    pixels = torch.as_tensor(drawn.axes[0].images[0].get_array())
    height = len(pixels) // 3
    torch.testing.assert_close(pixels[-height:], pixels[:height], atol=1e-3, rtol=0)  # its own patches: the images
