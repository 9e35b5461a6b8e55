"""Visual words as pictures: which patches stand for a word, and in which order."""

from __future__ import annotations

import matplotlib
import pytest
import torch

matplotlib.use("Agg")

from course_lib.plots import words

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WORDS = torch.tensor([[[0, 1], [1, 1]], [[1, 0], [2, 0]], [[0, 0], [0, 3]]])


def test_patches_lie_at_their_places():
    cut = words.patches_around(IMAGES, 2)
    assert cut.shape == (3, 2, 2, 3, 4, 4) and torch.equal(cut[1, 1, 0], IMAGES[1, :, 4:, :4])
    whole = words.patches_around((255 * IMAGES).to(torch.uint8), 2)
    torch.testing.assert_close(whole, cut, atol=1 / 255, rtol=0)


def test_surroundings_are_pale_and_repeat_the_edge():
    cut = words.patches_around(IMAGES, 2, margin=2)
    assert cut.shape[-2:] == (8, 8) and torch.equal(cut[1, 0, 1, :, 2:-2, 2:-2], IMAGES[1, :, :4, 4:])
    torch.testing.assert_close(cut[1, 1, 0, :, 0, 3], 0.45 * IMAGES[1, :, 2, 1] + 0.55)
    torch.testing.assert_close(cut[1, 0, 0, :, 0, 0], 0.45 * IMAGES[1, :, 0, 0] + 0.55)


def test_examples_come_from_all_images_first():
    cut = words.patches_around(IMAGES, 2)
    found = words.word_examples(cut, WORDS, 0, 4)
    expected = [cut[0, 0, 0], cut[1, 0, 1], cut[2, 0, 0], cut[1, 1, 1]]
    assert torch.equal(found, torch.stack(expected))
    assert len(words.word_examples(cut, WORDS, 3, 4)) == 1 and not len(words.word_examples(cut, WORDS, 9, 4))


def test_ranks_go_from_the_most_frequent_word_to_the_rarest_that_occurs():
    counts = torch.tensor([5, 0, 9, 1, 7])
    assert words.spread_ranks(counts, 3) == [2, 4, 3] or words.spread_ranks(counts, 3) == [2, 0, 3]
    assert words.spread_ranks(counts, 9) == [2, 4, 0, 3]


@pytest.mark.parametrize("margin", [0, 2])
def test_figures(margin):
    figure = words.word_gallery({"a": (IMAGES, WORDS), "b": (IMAGES, WORDS)}, rows=3, examples=2, margin=margin,
                                codes=(4, 9))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a: 4 of 4 words used", "b: 4 of 9 words used"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][0] == "50.0%"
    figure.draw_without_rendering()


def test_an_average_of_words_and_the_true_one():
    pictures, chances = torch.rand(9, 3, 4, 4), torch.arange(9.0).div(36)
    figure = words.one_blank(IMAGES[0], IMAGES[0], (1, 0), pictures, chances, 7, most=2)
    assert [axes.get_title(loc="left") for axes in figure.axes][2:] == ["22%", "19%", "average", "truth"]
    average = (chances[:, None, None, None] * pictures).sum(0)
    shown = torch.from_numpy(figure.axes[4].images[0].get_array().data).float()
    torch.testing.assert_close(shown.permute(2, 0, 1), average)
    words.spelled(pictures, chances, IMAGES, IMAGES, across=3).draw_without_rendering()


def test_a_bias_has_a_picture_for_each_head_centred_on_the_patch_itself():
    table = torch.zeros(9 + 3, 2)
    table[4], table[5] = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.0])  # itself; query right of the key
    figure = words.offset_bias(table, 2)
    shown = [axes.images[0].get_array().data for axes in figure.axes[:2]]
    assert shown[0][1, 1] == 1 and shown[1][1, 1] == -2 and shown[0][1, 2] == 0.5
    figure.draw_without_rendering()


def test_masks_and_seeds():
    visible = torch.tensor([[[True, False], [True, True]], [[True, False], [True, False]]])
    figure = words.hidden_places(IMAGES[:2], visible)
    assert figure.axes[1].images[0].get_array().tolist() == [[0, 1], [0, 0.5]]
    lines = words.seeds_by_line({"a": [1, 2, 3], "b": [4, 5]}, "%").axes[0]
    assert [t.get_text() for t in lines.get_xticklabels()] == ["a", "b"]
    assert list(lines.lines[1].get_ydata()) == [2, 2]
