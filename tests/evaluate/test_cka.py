"""CKA, classical MDS and the permutation test: the definitions written out, and cases with a known answer."""

from __future__ import annotations

import itertools

import pytest
import torch

from course_lib.evaluate import cka as C


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_cka(x, y):
    """The cosine of two centred Gram matrices, pair of images by pair."""
    n, gram = len(x), []
    for z in (x, y):
        z = [[float(v - z[:, j].mean()) for j, v in enumerate(row)] for row in z]
        gram.append([[sum(a * b for a, b in zip(z[i], z[j])) for j in range(n)] for i in range(n)])
    inner = [sum(a[i][j] * b[i][j] for i in range(n) for j in range(n))
             for a, b in ((gram[0], gram[1]), (gram[0], gram[0]), (gram[1], gram[1]))]
    return inner[0] / (inner[1] * inner[2]) ** 0.5


def naive_hsic(k, l):  # noqa: E741
    """Song et al., equation 4, as it is defined: means over all pairs, triples and quadruples of *different* images."""
    n = range(len(k))
    two = [float(k[i, j] * l[i, j]) for i, j in itertools.permutations(n, 2)]
    three = [float(k[i, j] * l[i, q]) for i, j, q in itertools.permutations(n, 3)]
    four = [float(k[i, j] * l[q, r]) for i, j, q, r in itertools.permutations(n, 4)]
    return sum(two) / len(two) + sum(four) / len(four) - 2 * sum(three) / len(three)


def test_linear_cka_is_the_definition_and_blind_to_rotation_shift_and_scale():
    x, y = draw(7, 3), draw(7, 5, seed=1)
    assert float(C.linear_cka(x, y)) == pytest.approx(naive_cka(x, y))
    turn = torch.linalg.qr(draw(3, 3, seed=2))[0]
    for same in (x @ turn, x + 5, -3 * x):
        assert float(C.linear_cka(x, same)) == pytest.approx(1) == float(C.debiased_cka(x, same))
        assert float(C.linear_cka(same, y)) == pytest.approx(naive_cka(x, y))


def test_debiased_hsic_is_the_mean_over_different_images():
    x, y = draw(6, 4), draw(6, 2, seed=1)
    assert float(C.debiased_hsic(x @ x.T, y @ y.T)) == pytest.approx(naive_hsic(x @ x.T, y @ y.T))


def test_noise_looks_alike_only_without_the_correction():
    pairs = [(draw(40, 200, seed=2 * s), draw(40, 200, seed=2 * s + 1)) for s in range(20)]
    assert min(float(C.linear_cka(*pair)) for pair in pairs) > 0.7
    assert abs(sum(float(C.debiased_cka(*pair)) for pair in pairs) / 20) < 0.02


def test_the_table_is_that_of_all_pairs():
    features = [draw(12, width, seed=width) for width in (3, 5, 20)]
    plain, debiased = C.cka_table([x.float() for x in features])
    for i, j in itertools.product(range(3), repeat=2):
        assert float(plain[i, j]) == pytest.approx(float(C.linear_cka(features[i], features[j])), abs=1e-5)
        assert float(debiased[i, j]) == pytest.approx(float(C.debiased_cka(features[i], features[j])), abs=1e-5)
    with pytest.raises(ValueError, match=r"are of \[3, 12\] images"):
        C.cka_table([features[0], features[1][:3]])


def test_regress_out_leaves_nothing_that_is_linear_in_the_cause():
    cause, other = draw(50, 1), draw(50, 2, seed=1)
    left = C.regress_out(3 * cause @ draw(1, 4, seed=2) + other @ draw(2, 4, seed=3) + 7, cause)
    assert float((left.T @ (cause - cause.mean(0))).abs().max()) < 1e-9
    assert float(left.norm()) > 1


def test_mds_gives_back_points_up_to_a_turn_and_zeros_where_there_is_no_axis():
    points = draw(9, 2)
    found = C.classical_mds(torch.cdist(points, points), 3)
    assert torch.allclose(torch.cdist(found, found), torch.cdist(points, points), atol=1e-6)
    assert float(found[:, 2].abs().max()) < 1e-6 and float(found.mean(0).abs().max()) < 1e-7
    assert float(found[:, 0].var()) >= float(found[:, 1].var())
    unit = torch.nn.functional.normalize(draw(5, 6), dim=1)
    assert torch.allclose(C.cka_distances(unit @ unit.T), torch.cdist(unit, unit), atol=1e-6)


def test_the_test_finds_groups_and_seldom_finds_none():
    groups = torch.arange(12) // 4
    g = torch.Generator().manual_seed(0)
    orders = C.shuffles(torch.zeros(12), 199, g)
    alike = (groups[:, None] == groups).double() + 0.1 * draw(12, 12)
    found = C.group_test(alike + alike.T, groups, orders)
    assert float(found["gap"]) > 1.5 and float(found["p"]) == pytest.approx(1 / 200)
    chance = []
    for seed in range(60):
        noise = draw(12, 12, seed=seed)
        chance.append(float(C.group_test(noise + noise.T, groups, orders)["p"]))
    assert sum(p <= 0.1 for p in chance) <= 12 and min(chance) > 0


def test_shuffles_exchange_only_within_what_is_held():
    within = torch.tensor([0, 1, 0, 1, 2, 0])
    orders = C.shuffles(within, 50, torch.Generator().manual_seed(0))
    assert orders.shape == (50, 6) and (orders.sort(dim=1).values == torch.arange(6)).all()
    assert (within[orders] == within).all() and len(orders.unique(dim=0)) > 6
