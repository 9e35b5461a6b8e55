"""DMAE and randomized smoothing: loops in plain Python, coverage of the bound, and the bugs that people shipped."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.augment.pixels import MEAN, STD
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.evaluate.smoothing import (
    ABSTAIN,
    certified_accuracy,
    certified_radius,
    certify,
    count_votes,
    elections,
    favourite,
    lower_bound,
)
from course_lib.exercises import reference
from course_lib.methods import build_method
from course_lib.methods.masked.dmae import DMAE, NoisyClassifier, consistency_loss, dmae_loss, enter, noisy
from course_lib.models.vit import ViT
from course_lib.train.loop import fit
from helpers.draws import generator, randn
from helpers.tiny import SMALL, Stop, images, same, state

TINY = {"patch": 4, "dim": 12, "depth": 2, "heads": 3}


def dmae(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("dmae", "vit-tiny", 16, backbone_options=TINY, **{"width": 8, "heads": 2, **options})


def views(method, seed=0, count=8):
    return method.views(Batch(images().images[:count], torch.arange(count), torch.arange(count) % 3), generator(seed))


# ---------------------------------------------------------------- the loss, in plain Python
def naive(prediction, pictures, patch, normalized) -> float:
    total, count = 0.0, 0
    for image, guess in zip(pictures.tolist(), prediction.tolist()):
        grid = len(image[0]) // patch
        for place in range(grid * grid):
            top, left = place // grid * patch, place % grid * patch
            values = [image[c][top + i][left + j] for i in range(patch) for j in range(patch)
                      for c in range(len(image))]
            if normalized:
                mean = sum(values) / len(values)
                std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) + 1e-6)
                values = [(v - mean) / std for v in values]
            total += sum((a - b) ** 2 for a, b in zip(guess[place], values)) / len(values)
            count += 1
    return total / count


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("patch, size", [(2, 4), (4, 8)])
def test_the_loss_equals_its_definition(patch, size, normalized):
    pictures, prediction = randn(2, 3, size, size), randn(2, (size // patch) ** 2, 3 * patch**2, seed=1)
    got = dmae_loss(prediction, pictures, normalized)
    assert float(got) == pytest.approx(naive(prediction, pictures, patch, normalized), rel=1e-10)
    prediction.requires_grad_(), pictures.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: dmae_loss(p, pictures.detach(), normalized), (prediction,))


def test_every_patch_counts():
    """Bug: the loss on hidden patches only."""
    prediction = randn(2, 16, 48).requires_grad_()
    dmae_loss(prediction, randn(2, 3, 16, 16, seed=1)).backward()
    assert prediction.grad.abs().sum(-1).all()


def test_the_exercise_s_step_is_the_library_s_loss():
    """The same noise, the same prediction: the returned loss is that of the method."""
    step, method, g = reference("16.dmae_step"), dmae(), generator(5)
    pictures, visible = torch.rand(2, 3, 16, 16, generator=g), torch.arange(16).view(1, 4, 4).expand(2, -1, -1) % 4 == 0
    expected = float(method.loss((pictures, noisy(pictures, 0.25, generator(1)), visible))["loss"].detach())

    class Network(nn.Module):
        patch = method.patch

        def forward(self, inputs, visible):
            return method.decode(inputs, visible)

    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    assert step(Network(), optimizer, pictures, visible, 0.25, generator(1)) == pytest.approx(expected, abs=1e-4)


def naive_consistency(logits, weight, entropy) -> float:
    total = 0.0
    for rows in zip(*(batch.tolist() for batch in logits)):
        p = [[math.exp(v - max(row)) for v in row] for row in rows]
        p = [[v / sum(row) for v in row] for row in p]
        mean = [sum(column) / len(p) for column in zip(*p)]
        divergence = sum(m * math.log(m / v) for row in p for m, v in zip(mean, row)) / len(p)
        total += weight * divergence - entropy * sum(m * math.log(m) for m in mean)
    return total / len(logits[0])


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_consistency_equals_its_definition(copies):
    logits = [randn(4, 5, seed=seed) for seed in range(copies)]
    assert float(consistency_loss(logits, 2.0, 0.5)) == pytest.approx(naive_consistency(logits, 2.0, 0.5), rel=1e-10)
    assert torch.autograd.gradcheck(lambda *x: consistency_loss(list(x), 2.0, 0.5),
                                    tuple(x.requires_grad_() for x in logits))


def test_consistency_at_its_ends():
    """Bugs: KL the other way round (infinite for sure and different copies); entropy rewarded instead of punished."""
    sure = torch.tensor([[200.0, 0.0, 0.0]], dtype=torch.float64)
    other = torch.tensor([[0.0, 200.0, 0.0]], dtype=torch.float64)
    assert float(consistency_loss([sure, sure])) == pytest.approx(0, abs=1e-12)
    flat = torch.zeros(1, 3, dtype=torch.float64)
    assert float(consistency_loss([flat, flat], 2.0, 0.5)) == pytest.approx(0.5 * math.log(3))
    assert float(consistency_loss([sure, other], 1.0, 0.0)) == pytest.approx(100 - math.log(2))
    a, b = randn(4, 5), randn(4, 5, seed=1)
    torch.testing.assert_close(consistency_loss([a, b]), consistency_loss([b, a]))


# ---------------------------------------------------------------- noise and what comes after it
def test_noise_is_per_pixel_not_clipped_and_of_the_right_size():
    """Bugs: one noise for the whole batch; clipping to [0, 1], which the certificate does not allow for."""
    pictures = torch.full((8, 3, 16, 16), 0.95)
    seen = noisy(pictures, 0.25, generator())
    difference = seen - pictures
    assert float(difference.std()) == pytest.approx(0.25, rel=0.05) and seen.max() > 1.2
    assert not torch.allclose(difference[0], difference[1]) and not torch.allclose(difference[:, 0], difference[:, 1])
    assert torch.equal(seen, noisy(pictures, 0.25, generator())) and torch.equal(pictures,
                                                                                 noisy(pictures, 0, generator()))


def test_noise_comes_before_resizing_and_normalisation():
    """Bugs: noise on the normalised image is STD times too weak in pixels; noise after an enlargement is
    independent.
    """
    seen = []

    class Spy(ViT):
        def tokens(self, images, *args, **kwargs):
            seen.append(images.detach().clone())
            return super().tokens(images, *args, **kwargs)

    torch.manual_seed(0)
    method = DMAE(Spy(32, **TINY), image_size=16, width=8, heads=2, sigma=0.25, mask_ratio=0.5)
    method.loss(views(method))
    clean, with_noise, _ = views(method)
    assert clean.shape == with_noise.shape == (8, 3, 16, 16) and seen[0].shape == (8, 3, 32, 32)
    torch.testing.assert_close(seen[0], (F.interpolate(with_noise, size=32, mode="bicubic") - MEAN) / STD)
    assert float((with_noise - clean).std()) == pytest.approx(0.25, rel=0.05)
    assert method.embed(clean).shape == (8, 12)
    assert enter(clean, 16).shape == clean.shape


def test_the_target_is_the_clean_image():
    """Bug: the noisy image as target. With sigma so large that nothing of the image is left, the target is the same."""
    method = dmae(normalized=False).eval()
    clean, with_noise, visible = views(method)
    with torch.no_grad():
        got = method.loss((clean, with_noise, visible))["loss"]
        prediction = method.decode(enter(with_noise, 16), visible)
        assert torch.equal(got, dmae_loss(prediction, enter(clean, 16), False))
        assert not torch.isclose(got, dmae_loss(prediction, enter(with_noise, 16), False))


def test_sigma_zero_sees_what_mae_sees():
    a, b = dmae(sigma=0.0), build_method("mae", "vit-tiny", 16, backbone_options=TINY, width=8, heads=2)
    clean, seen, visible = views(a)
    assert torch.equal(clean, seen)
    pictures, also = views(b)
    assert torch.equal(pictures, clean) and torch.equal(also, visible)


def test_a_conv_net_is_refused():
    with pytest.raises(ValueError, match="use a ViT"):
        build_method("dmae", "convnet", 16)


@pytest.mark.parametrize("cut", [1, 4])
def test_resume_is_bit_exact(tmp_path, cut):
    settings = {**SMALL, "steps": 7, "log_every": 1}
    whole, again = dmae(), dmae(seed=7)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(dmae(), images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


# ---------------------------------------------------------------- fine-tuning
def classifier(**options):
    torch.manual_seed(0)
    return NoisyClassifier(ViT(16, **TINY), 3, 16,
                           augment=Augment(16, (1.0, 1.0), (1.0, 1.0), 0.0, jitter_p=0.0, gray_p=0.0),
                           **options)


def test_copies_lie_one_batch_after_the_other_and_labels_with_them():
    """Bug: [a, a, b, b] cut in halves: images compared with others, labels of others."""
    method = classifier(sigma=1e-4)
    both, labels = views(method)
    assert both.shape == (16, 3, 16, 16) and labels.tolist() == [i % 3 for i in range(8)]
    torch.testing.assert_close(both[:8], both[8:], atol=1e-2, rtol=0)
    assert not torch.equal(both[:8], both[8:])
    parts = method.loss((both, labels))
    logits = method.predict(both)
    wanted = (F.cross_entropy(logits[:8], labels) + F.cross_entropy(logits[8:], labels)) / 2
    torch.testing.assert_close(parts["cross_entropy"], wanted)
    torch.testing.assert_close(parts["loss"], wanted + consistency_loss([logits[:8], logits[8:]]))


def test_one_copy_without_noise_is_plain_training():
    method = classifier(sigma=0.0, copies=1)
    pictures, labels = views(method)
    parts = method.loss((pictures, labels))
    torch.testing.assert_close(parts["loss"], F.cross_entropy(method.predict(pictures), labels))
    assert "consistency" not in parts and float(pictures.min()) >= 0
    history = fit(method, images(), steps=6, lr=1e-3, **SMALL)
    assert history.curves["accuracy"] and method.embed(images().images).shape == (36, 12)
    with pytest.raises(ValueError, match="labelled"):
        method.views(Batch(images().images, torch.arange(36), None), generator())


# ---------------------------------------------------------------- the bound
def test_the_lower_bound_solves_its_definition():
    """The share p at which k or more of n votes have probability alpha."""
    for k, n, alpha in ((1, 5, 0.05), (7, 10, 0.01), (10, 10, 0.001), (60, 100, 0.05)):
        p = float(lower_bound(k, n, alpha))
        tail = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
        assert tail == pytest.approx(alpha, rel=1e-9)
    assert float(lower_bound(0, 10)) == 0
    assert float(lower_bound(100, 100, 0.001)) == pytest.approx(0.001 ** (1 / 100))


def test_the_bound_is_one_sided_and_below_the_share():
    """Bugs: alpha / 2, the share itself."""
    from scipy.stats import binomtest

    one = binomtest(90, 100, 0.5, alternative="greater").proportion_ci(0.999, "exact").low
    two = binomtest(90, 100, 0.5).proportion_ci(0.999, "exact").low
    assert float(lower_bound(90, 100, 0.001)) == pytest.approx(one) and two < one < 0.9


def test_the_bound_holds_as_often_as_it_says():
    g, n, alpha = generator(), 50, 0.05
    for p in (0.3, 0.55, 0.9):
        votes = torch.binomial(torch.full((20000,), float(n)), torch.full((20000,), p), generator=g)
        missed = float((lower_bound(votes, n, alpha) > p).double().mean())
        assert missed <= alpha + 0.006, "too often above the truth"
        assert missed > alpha / 4, "far too careful"


def test_radii():
    phi = NormalDist().inv_cdf
    votes = torch.tensor([40, 60, 80, 99, 100])
    got = certified_radius(votes, 100, 0.5, 0.001).tolist()
    for k, radius in zip(votes.tolist(), got):
        bound = float(lower_bound(k, 100, 0.001))
        assert radius == pytest.approx(0.5 * phi(bound) if bound >= 0.5 else 0.0)
    assert got[0] == got[1] == 0 and got == sorted(got)
    assert float(certified_radius(1000, 1000, 1.0, 0.001)) == pytest.approx(2.463, abs=1e-3)  # the most for n
    for alpha in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"alpha is {alpha}; expected how often the bound may be wrong"):
            certified_radius(9, 10, 0.5, alpha)
    with pytest.raises(ValueError, match="the image is torch.uint8; expected floats"):
        count_votes(torch.nn.Flatten(), torch.zeros(3, 2, 2, dtype=torch.uint8), 0.5, 4, 12, generator())


def test_samples_needed():
    samples_needed = reference("16.samples_needed")
    for radius, sigma, alpha in ((0.5, 0.25, 0.001), (1.0, 0.25, 0.001), (0.3, 1.0, 0.05)):
        n = samples_needed(radius, sigma, alpha)
        assert certified_radius(n, n, sigma, alpha) >= radius > certified_radius(n - 1, n - 1, sigma, alpha)
    with pytest.raises(ValueError, match="larger sigma"):
        samples_needed(3.0, 0.25)


# ---------------------------------------------------------------- voting
class HalfSpace(nn.Module):
    """Class 1 where the mean direction of pixels exceeds a threshold: its certificate is known exactly."""

    def __init__(self, size=4, threshold=0.0):
        super().__init__()
        self.direction = torch.ones(3 * size * size, dtype=torch.float64) / math.sqrt(3 * size * size)
        self.threshold, self.seen = threshold, []

    def forward(self, x):
        self.seen.append(x)
        score = x.flatten(1) @ self.direction - self.threshold
        return torch.stack([-score, score, torch.full_like(score, -9)], 1)


def test_votes_are_counted_over_fresh_unclipped_noise():
    net, image = HalfSpace(), torch.full((3, 4, 4), 0.9, dtype=torch.float64)
    votes = count_votes(net, image, 0.5, 1100, 3, generator(), batch_size=400)
    assert votes.sum() == 1100 and [len(x) for x in net.seen] == [400, 400, 300]
    noise = torch.cat(net.seen) - image
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02) and torch.cat(net.seen).max() > 1.5
    assert len(noise[:, 0, 0, 0].unique()) == 1100


def test_the_certificate_of_a_half_space_is_its_distance():
    """For a half-space the true radius is the distance to the border: the certificate comes near and stays below."""
    distance, sigma = 0.3, 0.25
    image = torch.full((3, 4, 4), 0.5, dtype=torch.float64)
    threshold = float(image.flatten() @ HalfSpace().direction) - distance
    found, radius = certify(HalfSpace(threshold=threshold), image, sigma, 3, generator(), n=20000)
    assert found == 1 and 0.9 * distance < radius < distance


def test_selection_and_estimation_are_apart():
    """Bug: the votes that picked the class are counted again. Their first n0 answers say 0, all later ones 1."""

    class Turncoat(nn.Module):
        asked = 0

        def forward(self, x):
            self.asked += len(x)
            return F.one_hot(torch.full((len(x),), int(self.asked > 20)), 2).double()

    image = torch.rand(3, 2, 2)
    assert certify(Turncoat(), image, 0.5, 2, generator(), n0=20, n=100, batch_size=20) == (ABSTAIN, 0.0)


def test_certified_accuracy_is_of_all_images():
    """Bugs: abstentions left out of the denominator, or counted as right; wrong classes with a large radius."""
    found, radii = torch.tensor([0, 1, ABSTAIN, 2]), torch.tensor([0.3, 0.6, 0.0, 0.9])
    labels = torch.tensor([0, 1, 2, 0])
    assert certified_accuracy(found, radii, labels, 0.0) == 0.5
    assert certified_accuracy(found, radii, labels, torch.tensor([0.25, 0.6, 0.7])).tolist() == [0.5, 0.25, 0.0]
    assert certified_accuracy(found, radii, torch.tensor([0, 1, ABSTAIN, 0]), 0.0) == 0.5


def test_stored_elections_hold_the_certificates_of_certify():
    """The larger sample begins with the smaller one, and with its votes the certificate is that of `certify`."""
    pictures = torch.stack([torch.full((3, 4, 4), level, dtype=torch.float64) for level in (0.48, 0.5, 0.55)])
    net = HalfSpace(threshold=float(pictures[1].flatten() @ HalfSpace().direction))
    g, again = generator(3), generator(3)
    row = elections(net, pictures, 0.25, 3, g, n0=50, sizes=(120,))
    for image, chosen, won in zip(pictures, row["found"], row["votes_120"]):
        found, radius = certify(net, image, 0.25, 3, again, n0=50, n=120)
        assert radius == float(certified_radius(won, 120, 0.25)) and found in (chosen, ABSTAIN)
    both = elections(net, pictures, 0.25, 3, generator(3), n0=50, sizes=(40, 120))
    assert both["found"][0] == row["found"][0] and both["votes_120"][0] == row["votes_120"][0]
    assert all(small <= large <= small + 80 for small, large in zip(both["votes_40"], both["votes_120"]))


def test_the_favourite_word_and_its_share_of_the_votes():
    pictures = torch.stack([torch.full((3, 2, 2), value) for value in (0.9, 0.8, 0.1)])

    def bright(x):
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5, torch.full_like(mean, -9)], 1)

    word, often, unanimous = favourite(bright, pictures, 0.1, 20, 3)
    assert (word, unanimous) == (1, 1.0) and often == pytest.approx(2 / 3)
    said = [count_votes(bright, picture, 1.0, 20, 3, generator()) for picture in pictures]
    expected = sum(float(votes.max()) / 20 for votes in said) / 3
    assert favourite(bright, pictures, 1.0, 20, 3)[2] == pytest.approx(expected)
