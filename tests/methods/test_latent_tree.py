"""Latent trees: all states counted one by one, the covariance operator by pairs, nodes that see their own subtree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from course_lib.methods.information import latent_tree as lt
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")
TREE = [torch.tensor([0.8, -0.5]), torch.tensor([0.9, -0.3, 0.6, 1.0])]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- the tree
def every_state():
    """(chance, levels) of all 2^7 states of TREE, in plain Python: what naive counting needs."""
    for signs in itertools.product((1, -1), repeat=7):
        levels, chance = [signs[:1], signs[1:3], signs[3:]], 0.5
        for parents, children, polarity in zip(levels, levels[1:], TREE):
            for i, child in enumerate(children):
                chance *= (1 + child * parents[i // 2] * float(polarity[i])) / 2
        yield chance, levels


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_operator_is_that_of_all_states_counted(level):
    """Mean of the pixels for each choice of the kept latents, then the covariance of these means."""
    chances, means = {}, {}
    for chance, levels in every_state():
        kept = tuple(levels[:level + 1])
        chances[kept] = chances.get(kept, 0) + chance
        means[kept] = means.get(kept, 0) + chance * np.array(levels[2])
    wanted = sum(np.outer(means[kept], means[kept]) / chances[kept] for kept in means if chances[kept])  # mean 0
    assert sum(chances.values()) == pytest.approx(1)
    np.testing.assert_allclose(lt.operator(TREE, level).numpy(), wanted, atol=1e-6)
    assert int(torch.linalg.matrix_rank(lt.operator(TREE, level))) == 2**level


def test_drawn_pictures_have_the_trees_chances():
    levels = lt.draw_latents(TREE, 20000, generator())
    assert [tuple(each.shape) for each in levels] == [(20000, 1), (20000, 2), (20000, 4)]
    assert all(set(each.unique().tolist()) == {-1.0, 1.0} for each in levels)
    for parents, children, polarity in zip(levels, levels[1:], TREE):
        for i in range(children.shape[1]):
            assert float((children[:, i] * parents[:, i // 2]).mean()) == pytest.approx(float(polarity[i]), abs=0.03)


def test_an_augmentation_keeps_the_upper_levels_and_draws_the_rest_anew():
    """Bug: what lies below is drawn from a fresh root."""
    first = lt.draw_latents(TREE, 5000, generator())
    for top in (1, 2):
        second = lt.draw_latents(TREE, 5000, generator(1), kept=first[:top])
        assert all(torch.equal(a, b) for a, b in zip(first[:top], second[:top]))
        assert not torch.equal(first[top], second[top])
        assert float((second[1][:, 0] * first[0][:, 0]).mean()) == pytest.approx(0.8, abs=0.04)


def test_polarities_are_within_their_bounds_and_of_both_signs():
    tree = lt.draw_polarities(6, 0.7, 0.9, generator())
    assert [len(each) for each in tree] == [2, 4, 8, 16, 32, 64]
    assert 0.7 <= min(float(each.abs().min()) for each in tree) <= max(float(each.abs().max()) for each in tree) <= 0.9
    assert {-1.0, 1.0} == set(tree[-1].sign().tolist())


# ---------------------------------------------------------------- the covariance operator
def test_the_loss_of_a_linear_network_is_that_of_its_operator():
    """r- - r+ by loops over all pairs of views is trace(W OP W'), so the gradient of r+ - r- is -2 W OP."""
    x, weight = randn(4, 3, 5), randn(2, 5, seed=1).requires_grad_()

    def half_square(a, b):
        return ((weight @ a - weight @ b) ** 2).sum() / 2

    same = [half_square(x[i, a], x[i, b]) for i in range(4) for a in range(3) for b in range(3)]
    any_two = [half_square(x[i, a], x[j, b]) for i in range(4) for j in range(4) for a in range(3) for b in range(3)]
    loss = sum(same) / len(same) - sum(any_two) / len(any_two)
    covariance = lt.covariance_of_means(x)
    assert -loss.item() == pytest.approx(torch.trace(weight @ covariance @ weight.T).item())
    loss.backward()
    torch.testing.assert_close(-weight.grad, 2 * weight.detach() @ covariance)


def test_samples_come_near_the_operator():
    first = lt.draw_latents(TREE, 3000, generator())
    views = [lt.draw_latents(TREE, 3000, generator(seed), kept=first[:1])[-1] for seed in range(1, 60)]
    found = lt.covariance_of_means(torch.stack(views, 1))
    torch.testing.assert_close(found, lt.operator(TREE, 0), atol=0.04, rtol=0)


# ---------------------------------------------------------------- the network
def test_a_node_holds_what_loops_give_and_sees_its_own_subtree_alone():
    net, pixels = lt.TreeNet(2, 3), torch.randn(5, 4, generator=generator()).requires_grad_()
    root, below = net(pixels)
    assert root.shape == (5, 1, 3) and below.shape == (5, 2, 3)
    for n, i, k in itertools.product(range(5), range(2), range(3)):
        wanted = sum(pixels[n, 2 * i + j] * net.weights[1][i, j, k] for j in range(2)) + net.biases[1][i, 0, k]
        torch.testing.assert_close(below[n, i, k], wanted)
    wanted = torch.cat([below[:, 0].relu(), below[:, 1].relu()], 1) @ net.weights[0][0] + net.biases[0][0]
    torch.testing.assert_close(root[:, 0], wanted)
    below[:, 0].sum().backward()
    assert not pixels.grad[:, 2:].any() and pixels.grad[:, :2].any()


def test_the_best_node_is_the_one_that_numpy_finds():
    net, latents = lt.TreeNet(2, 3), lt.draw_latents(TREE, 500, generator())
    wanted = []
    for z, nodes in zip(latents, net(latents[-1])):
        nodes = nodes.detach().numpy()
        best = [max(abs(np.corrcoef(z[:, i].numpy(), nodes[:, i, k])[0, 1]) for k in range(3))
                for i in range(z.shape[1])]
        wanted.append(float(np.mean(best)))
    assert lt.best_correlations(net, latents) == pytest.approx(wanted, abs=1e-5)


def test_a_short_training_finds_the_root():
    rows, losses = lt.read_tree(0, 6, 60, depth=3)
    trained, untrained, pixels = (row["correlations"] for row in rows)
    assert trained[0] > untrained[0] + 0.05 and trained[0] > pixels[0] and losses[-1] < losses[0]
    assert lt.read_tree(0, 6, 60, depth=3)[0] == rows  # the same again
