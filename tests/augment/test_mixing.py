"""Mixed images: against loops in plain Python, rectangles at the edge, and the share that belongs to each."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.mixing import mix_reversed, random_mix, region
from helpers.draws import randn


def naive_region(height, width, lam, row, column) -> set[tuple[int, int]]:
    """The places inside, one by one."""
    tall, wide = (int(side * math.sqrt(1 - lam)) // 2 for side in (height, width))
    return {(y, x) for y in range(height) for x in range(width)
            if row - tall <= y < row + tall and column - wide <= x < column + wide}


@pytest.mark.parametrize("height, width", [(8, 8), (7, 12)])
@pytest.mark.parametrize("lam", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_mixtures_equal_their_definition(height, width, lam):
    """Bug: the drawn lam kept where the edge cuts the rectangle."""
    images = randn(5, 3, height, width)
    for row, column in ((0, 0), (height // 2, width // 2), (height - 1, width - 1), (2, width - 1)):
        inside = naive_region(height, width, lam, row, column)
        box = region(height, width, lam, row, column)
        assert inside == {(y, x) for y in range(box[0], box[2]) for x in range(box[1], box[3])}
        mixed, share = mix_reversed(images, lam, box)
        assert share == pytest.approx(1 - len(inside) / (height * width))
        for i in range(5):
            for y in range(height):
                for x in range(width):
                    source = 4 - i if (y, x) in inside else i
                    assert torch.equal(mixed[i, :, y, x], images[source, :, y, x])
    mixed, share = mix_reversed(images, lam)
    assert share == lam
    torch.testing.assert_close(mixed, torch.stack([lam * images[i] + (1 - lam) * images[4 - i] for i in range(5)]))


def test_the_middle_of_an_odd_batch_is_mixed_with_itself():
    images = randn(3, 3, 8, 8)
    for box in (None, (1, 1, 5, 5)):
        torch.testing.assert_close(mix_reversed(images, 0.3, box)[0][1], images[1])


def test_a_mixture_read_backwards_is_that_of_the_partners():
    """Why the second pairing is free: mixture N - 1 - i holds image i with the share 1 - lam."""
    images = randn(4, 3, 8, 8)
    mixed, share = mix_reversed(images, 0.3)
    back, _ = mix_reversed(images, 1 - share)
    torch.testing.assert_close(mixed.flip(0), back)


def test_draws():
    """Of both kinds, from the generator alone; the share is that of the pixels."""
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16)  # image i is filled with i
    blended, shares = 0, []
    for seed in range(200):
        mixed, share = random_mix(images, 1.0, 0.5, torch.Generator().manual_seed(seed))
        again, same = random_mix(images, 1.0, 0.5, torch.Generator().manual_seed(seed))
        assert torch.equal(mixed, again) and share == same and 0 <= share <= 1
        assert float(mixed[0].mean()) == pytest.approx(3 * (1 - share), abs=1e-5)
        blended += mixed[0].unique().numel() == 1 and 0 < share < 1
        shares.append(share)
    assert 70 < blended < 130 and 0.4 < sum(shares) / 200 < 0.75  # cut rectangles leave more to the image
    for blend_p, kinds in ((0.0, {0.0, 3.0}), (1.0, None)):
        mixed, share = random_mix(images, 1.0, blend_p, torch.Generator().manual_seed(1))
        assert kinds is None and mixed[0].unique().numel() == 1 or set(mixed[0].unique().tolist()) <= kinds
