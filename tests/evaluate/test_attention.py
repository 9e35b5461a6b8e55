"""What is read from attention maps, against loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.loading import load
from course_lib.data.shapes import object_masks
from course_lib.evaluate.attention import (
    attention_distance,
    class_token_on_object,
    from_mask_tokens,
    mutual_matches,
    object_share,
    patch_cover,
    pointing,
    rollout,
    similarity,
    spent_on_object,
    to_grid,
)
from course_lib.models.vit import ViT
from helpers.draws import randn


def maps(layers=3, b=2, heads=2, side=3, seed=0):
    return randn(layers, b, heads, 1 + side**2, 1 + side**2, seed=seed).softmax(-1)


def naive_rollout(layers: list) -> list:
    """One image: (heads, T, T) nested lists of each layer, first to last."""
    size = len(layers[0][0])
    total = [[float(i == j) for j in range(size)] for i in range(size)]
    for heads in layers:
        step = [[0.5 * sum(h[i][j] for h in heads) / len(heads) + 0.5 * (i == j) for j in range(size)]
                for i in range(size)]
        total = [[sum(step[i][k] * total[k][j] for k in range(size)) for j in range(size)] for i in range(size)]
    return total


def test_rollout_equals_loops():
    m = maps()
    for image in range(2):
        wanted = naive_rollout(m[:, image].tolist())
        torch.testing.assert_close(rollout(m)[image], torch.tensor(wanted, dtype=torch.float64))


def test_rollout_keeps_rows_and_order():
    """Bugs: layers multiplied the other way round, no residual, rows that no longer sum to 1."""
    m = maps()
    torch.testing.assert_close(rollout(m).sum(-1), torch.ones(2, 10, dtype=torch.float64))
    assert not torch.allclose(rollout(m), rollout(m.flip(0)))
    eye = torch.eye(10, dtype=torch.float64).expand(3, 2, 2, 10, 10)
    torch.testing.assert_close(rollout(eye), eye[0, :, 0])
    torch.testing.assert_close(rollout(m[:1], residual=0.0), m[0].mean(1))
    assert torch.equal(rollout(m, residual=1.0), eye[0, :, 0])
    last = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1, 1, 1)  # layer 1: token 0 reads 1; layer 2: 1 reads 2
    last[0, 0, 0, 0] = torch.tensor([0.0, 1, 0])
    last[1, 0, 0, 1] = torch.tensor([0.0, 0, 1])
    assert rollout(last)[0, 0, 2] == 0, "what arrives later cannot be seen earlier"
    assert rollout(last.flip(0))[0, 0, 2] == 0.25


def test_distance_equals_loops():
    m, side = maps(), 3
    found = attention_distance(m)
    for layer in range(3):
        for head in range(2):
            total = 0.0
            for image in range(2):
                rows = m[layer, image, head, 1:, 1:].tolist()
                for i, row in enumerate(rows):
                    total += sum(w * math.dist(divmod(i, side), divmod(j, side)) for j, w in enumerate(row)) / sum(row)
            assert float(found[layer, head]) == pytest.approx(total / (2 * side**2))


def test_distance_of_known_maps():
    uniform = torch.full((1, 1, 1, 5, 5), 0.2)
    assert float(attention_distance(uniform)) == pytest.approx((0 + 1 + 1 + 2**0.5) / 4)
    own = torch.eye(5).expand(1, 1, 1, 5, 5)
    assert float(attention_distance(own)) == 0
    assert float(attention_distance(uniform.bfloat16())) == pytest.approx((0 + 1 + 1 + 2**0.5) / 4, abs=1e-3)


def test_to_grid():
    assert torch.equal(to_grid(torch.arange(10.0)), torch.arange(1.0, 10).view(3, 3))
    with pytest.raises(ValueError, match="square"):
        to_grid(torch.zeros(9))


def test_matches_are_mutual_and_sorted():
    features = randn(6, 4)
    order = torch.tensor([3, 1, 0, 5, 2, 4])
    pairs = mutual_matches(similarity(features, features[order]))
    assert sorted(pairs.tolist()) == [[int(j), i] for j, i in sorted((int(j), i) for i, j in enumerate(order))]
    cosines = randn(5, 7).tanh()
    pairs = mutual_matches(cosines)
    wanted = [(i, j) for i in range(5) for j in range(7) if cosines[i].argmax() == j and cosines[:, j].argmax() == i]
    assert sorted(map(tuple, pairs.tolist())) == wanted and len(wanted) >= 1
    values = [float(cosines[i, j]) for i, j in pairs.tolist()]
    assert values == sorted(values, reverse=True)


def test_similarity_is_about_the_common_mean():
    a, b = randn(5, 3) + 100, randn(4, 3, seed=1) + 100
    assert similarity(a, b, center=False).min() > 0.99
    assert similarity(a, b).min() < 0
    torch.testing.assert_close(similarity(a, b), similarity(a - 7, b - 7))


def test_on_a_vit():
    torch.manual_seed(0)
    net = ViT(16, 4, 12, 2, 3)
    m = net.attention(torch.randn(2, 3, 16, 16))
    assert rollout(m).shape == (2, 17, 17) and attention_distance(m).shape == (2, 3)
    assert to_grid(m[-1, :, :, 0]).shape == (2, 3, 4, 4)


def test_object_share_equals_loops():
    weights, masks = randn(2, 3, 4, 4, seed=5).abs(), randn(8, 8, seed=6) > 0
    shares = object_share(weights, masks)
    for a in range(2):
        for b in range(3):
            on = total = 0.0
            for y in range(8):
                for x in range(8):
                    each = float(weights[a, b, y // 2, x // 2]) / 4
                    total += each
                    on += each * bool(masks[y, x])
            assert float(shares[a, b]) == pytest.approx(on / total)


def test_even_attention_has_the_objects_share_of_the_picture():
    masks = randn(3, 12, 12, seed=7) > 0.5
    shares = object_share(torch.full((3, 4, 4), 0.01), masks)
    torch.testing.assert_close(shares, masks.float().mean((1, 2)))
    with pytest.raises(ValueError, match="masks of 12 pixels cannot be cut into 5 patches"):
        object_share(torch.ones(5, 5), masks[0])


def test_attention_of_mask_tokens():
    visible = torch.tensor([[[True, False], [False, True]]])
    maps = torch.zeros(2, 1, 1, 4, 4)
    maps[0, 0, 0] = torch.tensor([[0.5, 0, 0, 0.5], [0.5, 0, 0.5, 0], [0, 0.25, 0.5, 0.25], [0, 1, 0, 0.0]])
    maps[1] = 0.25
    far, share = from_mask_tokens(maps, visible, 4)
    step, across = 4.0, 4 * 2**0.5
    torch.testing.assert_close(share[:, 0], torch.tensor([0.5, 1 / 3]))
    torch.testing.assert_close(far[:, 0], torch.tensor([(0.5 * step + 0.5 * across + 0.5 * across + 0.5 * step) / 2,
                                                        (2 * step + across) / 3]))


def test_a_map_on_the_object_points():
    """Maps that are the object's own pixels: all of them on it, and they follow its column."""
    images = load("shapes", n=60).test
    masks = object_masks(images.factors).float()
    own = pointing(masks, images.factors)
    assert own["share"] == pytest.approx(1) and own["follows_column"] > 0.95
    assert own["share_others"] < 0.6 and own["share_mean"] < 0.6
    flat = pointing(torch.ones_like(masks), images.factors)
    assert flat["follows_column"] == 0 and flat["share"] == pytest.approx(float(masks.mean()), abs=1e-4)


def test_a_patch_is_covered_in_part():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, :4, :2] = True
    masks[0, 7, 7] = True
    assert patch_cover(masks, 2).tolist() == [[0.5, 0, 0, 1 / 16]]


def test_the_class_token_on_the_object_is_the_mean_of_heads_and_images():
    m, cover = maps().float(), torch.rand(2, 9, generator=torch.Generator().manual_seed(0))
    for layer in range(3):
        shares = [sum(m[layer, b, h, 0, 1 + k] * cover[b, k] for k in range(9)) / m[layer, b, h, 0, 1:].sum()
                  for b in range(2) for h in range(2)]
        assert float(class_token_on_object(m, cover)[layer]) == pytest.approx(float(sum(shares)) / 4)


def naive_spent(m, cover, enough):
    """Loops over layers, heads and patches on the object: own maps, other images' with and without an object there."""
    layers, images, heads = m.shape[:3]
    patches = range(cover.shape[1])
    sums = {"own": [], "object": [], "background": []}
    for b in range(images):
        for q in patches:
            there = {"object": [i for i in range(images) if i != b and cover[i, q] > 0.9],
                     "background": [i for i in range(images) if i != b and cover[i, q] < 0.01]}
            if cover[b, q] <= 0.9 or len(there["object"]) < enough:
                continue
            for layer in range(layers):
                for h in range(heads):
                    def share(i, layer=layer, h=h, q=q, b=b):
                        row = [float(m[layer, i, h, 1 + q, 1 + k]) * (k != q) for k in patches]
                        return sum(value * float(cover[b, k]) for k, value in zip(patches, row)) / sum(row)

                    sums["own"].append(share(b))
                    for kind, others in there.items():
                        sums[kind].append(sum(map(share, others)) / max(1, len(others)))
    return {kind: sum(values) / len(values) for kind, values in sums.items()}


def test_attention_on_objects_and_its_controls_equal_loops():
    m = maps(layers=2, b=6, side=2).float()
    cover = (torch.rand(6, 4, generator=torch.Generator().manual_seed(3)) < 0.6).float()
    found = spent_on_object(m, cover, enough=2)
    assert list(found) == ["own", "object", "background"]
    assert found == pytest.approx(naive_spent(m, cover, 2), abs=1e-5)
