"""The best of many equals."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.selection import lucky_winners
from course_lib.seeds import generator


def test_lucky_winners_against_a_loop():
    """Bug: the winner judged on the images that it was picked on, or the next candidate's instead of the best."""
    hits = (torch.rand(7, 40, generator=generator(3)) < 0.4).float()
    reported, honest = lucky_winners(hits, 10, repeats=6, seed=5)
    draws = generator(5)
    places, orders = torch.rand(6, 40, generator=draws).argsort(1).argsort(1), torch.rand(7, 6, generator=draws)
    for n in range(1, 8):
        best, fresh = [], []
        for repeat in range(6):
            test = [i for i in range(40) if places[repeat, i] < 10]
            others = [i for i in range(40) if i not in test]
            order = orders[:, repeat].argsort()[:n].tolist()
            shares = [float(hits[candidate, test].mean()) for candidate in order]
            winner = order[shares.index(max(shares))]
            best.append(max(shares))
            ties = [c for c, share in zip(order, shares) if share == max(shares)]
            fresh.append([float(hits[c, others].mean()) for c in (ties if len(ties) > 1 else [winner])])
        assert float(reported[n - 1]) == pytest.approx(sum(best) / 6, abs=1e-6)
        low, high = (sum(end(each) for each in fresh) / 6 for end in (min, max))
        assert low - 1e-6 <= float(honest[n - 1]) <= high + 1e-6  # which of equals wins is left open


def test_some_images_are_left():
    with pytest.raises(ValueError, match="images is 40 of 40; expected 1 to 39"):
        lucky_winners(torch.ones(3, 40), 40)
