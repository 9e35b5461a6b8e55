"""The toys of the lessons: what is measured of points on a circle, and the picture of them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from course_lib.notebook import circle_figure, circle_measures, toys
from course_lib.seeds import generator


def directions(*angles: float) -> torch.Tensor:
    angle = torch.tensor(angles)
    return torch.stack([angle.cos(), angle.sin()], 1)


def path() -> torch.Tensor:
    """(2 steps, 2 networks, 2 views, 2 images, 2): opposite images, views alike; then all points in one place."""
    images = directions(0.0, torch.pi).expand(2, 2, 2, 2)
    met = directions(0.0, 0.0).expand(2, 2, 2, 2)
    return torch.stack([images, met])


def test_share_and_deviation_of_opposite_images_and_of_a_collapse():
    share, deviation = circle_measures(path())
    torch.testing.assert_close(share[0], torch.ones(2))
    torch.testing.assert_close(deviation, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))


def test_views_that_disagree_are_not_between_images():
    views = torch.stack([directions(0.0, torch.pi), directions(torch.pi, 0.0)]).expand(1, 1, 2, 2, 2)
    share, deviation = circle_measures(views)
    torch.testing.assert_close(share, torch.zeros(1, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(1, 1))


def test_the_picture_names_both_networks_and_marks_the_step():
    figure = circle_figure(path(), 1)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "online, step 1", "target, step 1", "signal share", "standard deviation"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["online", "target"]
    plt.close(figure)


def test_toy_answers_go_from_one_cluster_to_four_even_ones():
    for moved, counts in ((0, [16, 0, 0, 0]), (3, [13, 1, 1, 1]), (12, [4, 4, 4, 4])):
        p, home = toys.toy_answers(1.0, moved)
        assert torch.bincount(home, minlength=4).tolist() == counts and torch.equal(p.argmax(1), home)
    assert torch.equal(toys.toy_answers(0.0, 12)[0], torch.full((16, 4), 0.25, dtype=torch.float64))


def test_tables_of_noise_share_what_was_asked_for():
    first, second = toys.sharing_tables(6, 4, 1.0, generator(3))
    assert torch.equal(first, second) and first.shape == (6, 4)
    x, alone = toys.sharing_tables(6, 4, 0.0, generator(3))
    assert torch.equal(x, first) and not torch.equal(alone, first)
    torch.testing.assert_close(toys.sharing_tables(6, 4, 0.25, generator(3))[1], 0.25 * first + 0.75 * alone)
