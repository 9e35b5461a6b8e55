"""Where points went and which pixels are the object's: against loops, and networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from course_lib.augment.pixels import to_float
from course_lib.augment.views import CROPPED_VIEWS, Augment
from course_lib.data.shapes import make_shapes, object_masks
from course_lib.evaluate.dense import (
    CELLS,
    answers,
    at_same_place,
    best_map,
    cell_cosines,
    cells_of_view,
    maps_of,
    mean_iou,
    pixel_maps,
    segment,
    shares_found,
    true_pairs,
    within,
)
from course_lib.methods import build_method
from course_lib.models.backbones import ConvNet
from course_lib.models.vit import ViT

PLAIN = Augment(32, scale=(0.3, 0.8), jitter_p=0.0, gray_p=0.0)


def coordinates(images: torch.Tensor) -> torch.Tensor:
    """Pictures whose colours are their pixels' x and y in the image: what a perfect network would know."""
    axis = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
    side = len(axis)
    grid = torch.stack([axis.expand(side, -1), axis[:, None].expand(-1, side), torch.zeros(side, side)])
    return grid.expand(len(images), -1, -1, -1)


@pytest.fixture(scope="module")
def shapes():
    return make_shapes(40, seed=3)


def test_points_are_the_same_point_of_the_image_in_both_views():
    pairs = true_pairs(coordinates(torch.zeros(30, 3, 32, 32)), PLAIN, points=5, seed=1)
    for view, places in ((pairs.first, pairs.here), (pairs.second, pairs.there)):
        read = F.grid_sample(view, 2 * places[:, None] - 1, align_corners=False, padding_mode="border")[:, :2, 0].mT
        if view is pairs.first:
            seen = read
    assert pairs.here.min() >= -1e-5 and pairs.here.max() <= 1 + 1e-5
    assert (seen - read).abs().max() < 0.03  # a pixel of the image


def test_inside_is_the_mask_at_the_point(shapes):
    masks = torch.zeros(40, 32, 32, dtype=torch.bool)
    masks[:, :, 16:] = True
    pairs = true_pairs(coordinates(shapes.images), PLAIN, seed=2, masks=masks)
    low, high = pairs.corners1[:, None, 0], pairs.corners1[:, None, 2]
    x = low + pairs.here[..., 0] * (high - low)
    clear = (x - 0.5).abs() > 1e-4
    assert torch.equal(pairs.inside[clear], (x > 0.5)[clear])


def test_a_network_that_knows_coordinates_finds_points_and_noise_does_not():
    pairs = true_pairs(coordinates(torch.zeros(40, 3, 32, 32)), PLAIN, seed=1)
    knows = lambda images: torch.cat([c := to_float(images)[:, :2], 1 - c, c.square()], 1)  # noqa: E731
    guesses = lambda images: torch.randn(len(images), 8, 8, 8, generator=torch.Generator().manual_seed(len(images)))  # noqa: E731
    assert within(answers(knows, pairs), pairs).float().mean() > 0.6
    assert within(answers(guesses, pairs), pairs).float().mean() < 0.3
    assert best_map({"a": guesses, "b": knows}, pairs)[0] == "b"


def test_position_alone_is_perfect_without_crops_and_poor_with_them(shapes):
    whole = Augment(32, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    pairs = true_pairs(shapes.images, whole)
    assert within(at_same_place(pairs), pairs).all()
    assert (at_same_place(pairs) - pairs.here).abs().max() <= 0.5 / CELLS + 1e-6
    crops = true_pairs(shapes.images, CROPPED_VIEWS)
    assert within(at_same_place(crops), crops).float().mean() < 0.4


def test_views_whose_places_are_not_known_are_refused(shapes):
    """Bug: of views that are turned or shifted the true places were wrong ones."""
    with pytest.raises(ValueError, match="a pair of points has to know where .* got turn 20, shift 0.1"):
        true_pairs(shapes.images, replace(CROPPED_VIEWS, turn=20, shift=0.1))


def test_shares_found_by_counting(shapes):
    pairs = true_pairs(shapes.images, CROPPED_VIEWS, 4, 0, object_masks(shapes.factors)).head(5)
    assert len(pairs.first) == len(pairs.inside) == 5
    guesses = at_same_place(pairs)
    right, object_s = [], []
    for i in range(5):
        for j in range(4):
            off = (guesses[i, j] - pairs.there[i, j]).abs().tolist()
            right.append(max(off) <= 1 / 8)
            object_s += [right[-1]] if pairs.inside[i, j] else []
    assert shares_found(guesses, pairs) == pytest.approx({"found": sum(right) / 20,
                                                          "object": sum(object_s) / len(object_s)})
    plain = true_pairs(shapes.images, CROPPED_VIEWS, 4).head(3)
    assert list(shares_found(at_same_place(plain), plain)) == ["found"]


def test_cells_and_their_cosines():
    cells = cells_of_view(2, 4)
    assert cells.shape == (2, 16, 2) and torch.allclose(cells[0, 1], torch.tensor([3 / 8, 1 / 8]))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    table = cell_cosines(pixel_maps, images, images)
    assert table.shape == (3, 64, 64) and torch.allclose(table.diagonal(dim1=1, dim2=2), torch.ones(3, 64), atol=1e-5)
    assert torch.equal(pixel_maps(images)[1, :, 2, 3], images[1, :, 8:12, 12:16].flatten())


def test_maps_of_conv_net_vit_and_method():
    images = torch.rand(2, 3, 32, 32)
    net = ConvNet()
    found = maps_of(net.train())
    assert {key: maps(images).shape[1:] for key, maps in found.items()} == {
        "stage 1": (32, 16, 16), "stage 2": (64, 8, 8), "stage 3": (128, 4, 4)}
    assert net.training and not found["stage 1"](images).requires_grad
    vit = ViT(image_size=32, patch=8, dim=12, depth=1, heads=2)
    tokens = maps_of(vit)["tokens"](images)
    assert tokens.shape == (2, 12, 4, 4)
    method = build_method("vader", "convnet", 32, queue=32)
    assert list(maps_of(method)) == ["stage 1", "stage 2", "stage 3", "own map"]
    assert maps_of(method)["own map"](images).shape == (2, 64, 16, 16)
    with pytest.raises(ValueError, match="a look at places needs feature maps, Linear has none"):
        maps_of(torch.nn.Linear(2, 2))


def test_mean_iou_by_counting():
    generator = torch.Generator().manual_seed(0)
    guess, truth = (torch.rand(3, 5, 4, generator=generator) < 0.4 for _ in range(2))
    shares = []
    for k in (False, True):
        a, b = ({i for i, v in enumerate(m.flatten().tolist()) if v == k} for m in (guess, truth))
        shares.append(len(a & b) / len(a | b))
    assert mean_iou(guess, truth) == pytest.approx(sum(shares) / 2)
    assert mean_iou(truth, truth) == 1 and mean_iou(~truth, truth) == 0


def test_segmentation_from_a_map_that_knows_the_object(shapes):
    masks = object_masks(shapes.factors)
    table = {image.numpy().tobytes(): mask for image, mask in zip(shapes.images, masks)}
    knows = lambda images: torch.stack([torch.stack([table[i.numpy().tobytes()].float()] * 2) for i in images])  # noqa: E731
    found = segment(knows, shapes.images[:5], masks[:5], shapes.images[5:])
    assert found.dtype == torch.bool and mean_iou(found, masks[5:]) == 1
    assert 0.4 < mean_iou(segment(to_float, shapes.images[:5], masks[:5], shapes.images[5:]), masks[5:]) < 0.95


def test_masks_that_do_not_fit_get_a_sentence(shapes):
    """Bugs: one mask was compared with all pictures; the errors named torch's and scikit-learn's functions."""
    masks, few = object_masks(shapes), shapes.images[:3]
    with pytest.raises(ValueError, match=r"guess has shape \(3, 32, 32\), truth \(32, 32\)"):
        mean_iou(masks[:3], masks[0])
    with pytest.raises(ValueError, match="no pixel is of one of the 2 classes"):
        mean_iou(masks[:0], masks[:0])
    with pytest.raises(ValueError, match=r"few_masks have shape \(2, 32, 32\); expected \(3, 32, 32\)"):
        segment(to_float, few, masks[:2], few)
    for nothing in (masks[:3] & False, masks[:3] | True):
        with pytest.raises(ValueError, match="expected pixels of both"):
            segment(to_float, few, nothing, few)
