"""Which pixels a place of a map depends on."""

from __future__ import annotations

import torch
from torch import nn

from course_lib.evaluate.receptive import fields_of_maps, receptive_field


class Two(nn.Module):
    """A convolution of 3 x 3 pixels, then one of stride 2."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(2, 2, 2, stride=2)

    def stages(self, images):
        maps = self.first(images)
        return [maps, self.second(maps)]


def test_a_place_sees_its_neighbours():
    torch.manual_seed(0)
    seen = receptive_field(Two(), 0, 4, 5, size=8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[3:6, 4:7] = True
    assert torch.equal(seen, expected)
    seen = receptive_field(Two(), 1, 1, 2, size=8)  # of two stages: rows 2 and 3, columns 4 and 5, and one around
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1:5, 3:7] = True
    assert torch.equal(seen, expected)


def test_maps_come_from_small_to_large_with_their_centres():
    torch.manual_seed(0)
    found = fields_of_maps(Two(), size=8)
    assert list(found) == ["4x4", "8x8"] and found["4x4"][2].shape == (16, 2)
    side, seen, centres = found["8x8"]
    assert side == 8 and torch.equal(seen, receptive_field(Two(), 0, 4, 4, size=8))
    # the corner sees 2 x 2 pixels, their middle is 0.5; the places between lie evenly
    torch.testing.assert_close(centres[[0, 63]], torch.tensor([[0.5, 0.5], [6.5, 6.5]]))
