"""Few-shot episodes: what is drawn, the nearest mean in plain Python, the interval, and what does not fit."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.evaluate import draw_episode, few_shot, prototype_accuracy
from helpers.draws import generator, randn

LABELS = torch.arange(120) % 8


def test_an_episode_has_other_classes_and_no_image_twice():
    drawn, seen = generator(), set()
    for _ in range(30):
        support, queries = draw_episode(LABELS, 5, 2, 6, drawn)
        assert support.shape == (5, 2) and queries.shape == (5, 6)
        rows = torch.cat([support, queries], 1)
        assert len(rows.unique()) == 40, "no image is a query and an example"
        classes = LABELS[rows]
        assert bool((classes == classes[:, :1]).all()) and len(classes[:, 0].unique()) == 5
        seen.add(tuple(sorted(classes[:, 0].tolist())))
    assert len(seen) > 10, "episodes differ in their classes"


def test_small_classes_are_left_out():
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate((9, 2, 9, 9))])
    for _ in range(5):
        support, _ = draw_episode(labels, 3, 1, 5, generator())
        assert 1 not in labels[support].tolist()
    with pytest.raises(ValueError, match="3 classes have 6 images or more .1 shots and 5 queries.; expected 4"):
        draw_episode(labels, 4, 1, 5, generator())
    for wrong in ((1, 1, 1), (2, 0, 1), (2, 1, 0)):
        with pytest.raises(ValueError, match="expected two classes or more, and one image or more of each kind"):
            draw_episode(labels, *wrong, generator())


def test_the_nearest_mean_in_plain_python():
    x = randn(120, 4)
    support, queries = draw_episode(LABELS, 4, 3, 5, generator(2))
    means = [[sum(x[i, d].item() for i in rows) / 3 for d in range(4)] for rows in support.tolist()]
    hits = 0
    for own, rows in enumerate(queries.tolist()):
        for i in rows:
            far = [sum((x[i, d].item() - m[d]) ** 2 for d in range(4)) for m in means]
            hits += far.index(min(far)) == own
    assert prototype_accuracy(x, support, queries) == pytest.approx(hits / 20)


def test_the_interval_is_of_the_mean_over_episodes():
    found = few_shot(randn(120, 4) + 2 * torch.nn.functional.one_hot(LABELS % 4, 4), LABELS, episodes=50, queries=8)
    values = found.each.tolist()
    mean = sum(values) / 50
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 49)
    assert found.accuracy == pytest.approx(mean) and found.interval == pytest.approx(1.96 * deviation / math.sqrt(50))
    again = few_shot(randn(120, 4) + 2 * torch.nn.functional.one_hot(LABELS % 4, 4), LABELS, episodes=50, queries=8)
    assert again.accuracy == found.accuracy, "a seed, the same episodes"


def test_noise_is_at_chance_and_more_shots_help():
    assert abs(few_shot(randn(120, 16), LABELS, queries=8).accuracy - 0.2) < 0.03
    x = randn(400, 16) + 1.5 * torch.nn.functional.one_hot(torch.arange(400) % 8, 16)
    one, five = (few_shot(x, torch.arange(400) % 8, shots=n, episodes=200).accuracy for n in (1, 5))
    assert five > one + 0.05 > 0.3


def test_an_offset_of_all_features_does_not_matter_with_a_bank():
    x = randn(120, 6)
    assert few_shot(x, LABELS, episodes=20, queries=8).accuracy == few_shot(
        x + 100, LABELS, episodes=20, queries=8, bank=x + 100).accuracy
    with pytest.raises(ValueError, match="episodes is 1; expected two or more"):
        few_shot(x, LABELS, episodes=1)
