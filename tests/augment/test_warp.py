"""Warp: against loops over pixels, no move changes nothing, an even move is a shift."""

from __future__ import annotations

import math

import torch

from course_lib.augment.geometry import warp


def by_loops(image, moves):
    """(C, S, S), (2, n, n) -> the same, one pixel after another, for moves that stay inside."""
    size, n = image.shape[-1], moves.shape[-1]

    def between(table, y, x):
        top, left = min(math.floor(y), table.shape[0] - 2), min(math.floor(x), table.shape[1] - 2)
        b, a = y - top, x - left
        return ((1 - b) * ((1 - a) * table[top, left] + a * table[top, left + 1])
                + b * ((1 - a) * table[top + 1, left] + a * table[top + 1, left + 1]))

    out = torch.empty_like(image)
    for y in range(size):
        for x in range(size):
            v, u = y * (n - 1) / (size - 1), x * (n - 1) / (size - 1)
            right, down = between(moves[0], v, u), between(moves[1], v, u)
            for c in range(len(image)):
                out[c, y, x] = between(image[c], float(y + down), float(x + right))
    return out


def test_against_loops():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 12, 12, generator=generator)
    moves = torch.rand(2, 2, 4, 4, generator=generator) - 0.5
    moves[:, 0, :, 0], moves[:, 0, :, -1] = moves[:, 0, :, 0].abs(), -moves[:, 0, :, -1].abs()  # inwards at the edges
    moves[:, 1, 0], moves[:, 1, -1] = moves[:, 1, 0].abs(), -moves[:, 1, -1].abs()
    inner = slice(3, 9)
    for image, found, move in zip(images, warp(images, moves), moves):
        torch.testing.assert_close(found[:, inner, inner], by_loops(image, move)[:, inner, inner], atol=1e-5, rtol=0)


def test_no_move_and_an_even_move():
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(warp(images, torch.zeros(2, 2, 4, 4)), images, atol=1e-5, rtol=0)
    shifted = warp(images, torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(2, 2, 4, 4))
    torch.testing.assert_close(shifted[..., :15, :14], images[..., 1:, 2:], atol=1e-5, rtol=0)
