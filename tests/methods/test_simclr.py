"""SimCLR and SimCLR v2: the losses against loops in plain Python, the bugs that people shipped, the three steps of
v2.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch, ImageSet
from course_lib.exercises import reference
from course_lib.methods import build_method
from course_lib.methods.contrastive.simclr import nt_xent, partners, projection_head
from course_lib.methods.contrastive.simclr_v2 import Distill, FineTune, SimCLRv2, distillation_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

TINY = dict(backbone_options={"depth": 2, "widths": (4, 8)}, hidden=12, out=6)


pytestmark = pytest.mark.usefixtures("one_thread")


def build(name="simclr", seed=0, **options):
    torch.manual_seed(seed)
    return build_method(name, "convnet", 16, **TINY, **options)


# ---------------------------------------------------------------- NT-Xent, in plain Python
def naive_nt_xent(a, b, temperature, unit_length=True) -> tuple[float, float]:
    z = [row for view in (a, b) for row in view]
    n = len(a)
    if unit_length:
        z = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in z]
    total, right = 0.0, 0
    for i in range(2 * n):
        partner = i + n if i < n else i - n
        terms = {j: math.exp(sum(v * w for v, w in zip(z[i], z[j])) / temperature) for j in range(2 * n) if j != i}
        total -= math.log(terms[partner] / sum(terms.values()))
        right += max(terms, key=terms.get) == partner
    return total / (2 * n), right / (2 * n)


@pytest.mark.parametrize("n, d, temperature", [(2, 3, 0.5), (5, 2, 0.1), (8, 16, 1.0), (3, 4, 0.07), (1, 4, 0.5)])
@pytest.mark.parametrize("unit_length", [True, False])
def test_nt_xent_equals_its_definition(n, d, temperature, unit_length):
    a, b = randn(n, d), randn(n, d, seed=1)
    got = nt_xent(a, b, temperature, unit_length)
    wanted = naive_nt_xent(a.tolist(), b.tolist(), temperature, unit_length)
    assert (float(got["loss"]), float(got["accuracy"])) == pytest.approx(wanted, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("unit_length", [True, False])
def test_gradients(unit_length):
    """Bug: the anchor itself subtracted as a constant, so that its gradient still flows (seen without unit length)."""
    a, b = randn(4, 3).requires_grad_(), randn(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: nt_xent(x, y, 0.5, unit_length)["loss"], (a, b))
    z = torch.cat([a, b])
    terms = (z @ z.T / 0.5).exp()
    constant = (terms.sum(1) - terms.diagonal().detach()).log().mean() - (2 * (a * b).sum(1) / 0.5).sum() / 8
    wrong = torch.autograd.grad(constant, a)[0]
    right = torch.autograd.grad(nt_xent(a, b, 0.5, False)["loss"], a)[0]
    torch.testing.assert_close(constant, nt_xent(a, b, 0.5, False)["loss"])
    assert (wrong - right).abs().max() > 0.1, "the same value, another gradient"


def test_who_is_whose_partner():
    """Bug: neighbours in the list taken for partners after the views are concatenated."""
    partner, others = partners(3)
    assert partner.tolist() == [3, 4, 5, 0, 1, 2] and others.dtype == torch.bool
    assert others.sum(1).tolist() == [5] * 6 and not others.diagonal().any()
    a, b = randn(6, 4), randn(6, 4, seed=1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(nt_xent(a[order], b[order]), nt_xent(a, b))  # pairs moved together
    torch.testing.assert_close(nt_xent(b, a), nt_xent(a, b))
    torch.testing.assert_close(nt_xent(5 * a, 0.1 * b), nt_xent(a, b))  # only directions count
    assert not torch.allclose(nt_xent(a[order], b)["loss"], nt_xent(a, b)["loss"])
    assert nt_xent(a, a)["loss"] < nt_xent(a, b)["loss"] and nt_xent(a, a)["accuracy"] == 1


@pytest.mark.parametrize("n", [1, 2, 8, 128])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_an_encoder_that_tells_nothing_apart_has_log_2n_minus_1(n, temperature):
    """Bugs: the anchor or a zero left in the sum (log 2N); the positive left out; one side's negatives only (log N)."""
    z = torch.ones(n, 3, dtype=torch.float64)
    assert float(nt_xent(z, z, temperature)["loss"]) == pytest.approx(math.log(2 * n - 1))


def test_the_mean_of_logarithms():
    """Bug: the logarithm of the mean. Two images on a plane, one pair far apart: every number by hand."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    easy = math.log((math.e + 1 + 1) / math.e)  # partner at 1, the others at 0
    hard = math.log((math.exp(-1) + 1 + 1) / math.exp(-1))  # partner at -1
    parts = nt_xent(a, b, 1.0)
    assert float(parts["loss"]) == pytest.approx((easy + hard) / 2) and float(parts["accuracy"]) == 0.5
    assert float(parts["loss"]) > -math.log((math.exp(-easy) + math.exp(-hard)) / 2)


def test_small_temperatures_and_half_precision():
    a, b = randn(16, 8, dtype=torch.float32), randn(16, 8, seed=1, dtype=torch.float32)
    sharp = nt_xent(a.requires_grad_(), b, 0.002)["loss"]
    sharp.backward()
    assert sharp.isfinite() and a.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = nt_xent(a.bfloat16(), b.bfloat16())["loss"]
        full = nt_xent(a.bfloat16().float(), b.bfloat16().float())["loss"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_the_gradient_on_the_similarities(temperature):
    z = normalize(torch.cat([randn(5, 3), randn(5, 3, seed=1)]))
    s = (z @ z.T).requires_grad_()
    partner, others = partners(5)
    anchors = (s / temperature).masked_fill(~others, -torch.inf).log_softmax(1).gather(1, partner[:, None])
    wanted = torch.autograd.grad(-anchors.sum(), s)[0]
    got = reference("04.temperature_weights")(s.detach(), temperature)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(got.sum(1), torch.zeros(10, dtype=torch.float64), atol=1e-10, rtol=0)
    pulls = got.gather(1, partner[:, None])
    assert (pulls < 0).all() and (got.scatter(1, partner[:, None], 0) >= 0).all()


# ---------------------------------------------------------------- the method
def test_the_head_is_the_official_one():
    head = projection_head(8, 12, 6, layers=3)
    linears = [m for m in head if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features, m.bias) for m in linears] == [(8, 12, None), (12, 12, None), (12, 6, None)]
    assert [type(m).__name__ for m in head] == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert [m.bias.requires_grad for m in head if hasattr(m, "running_mean")] == [True, True, False]
    assert len([m for m in build().head if isinstance(m, torch.nn.Linear)]) == 2
    assert len([m for m in build("simclr-v2").head if isinstance(m, torch.nn.Linear)]) == 3


def test_the_loss_sees_both_views_at_once():
    method = build().train()
    views = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16) * 0.3
    parts = method.loss(views)
    assert parts["embedding"].shape == (16, 6) and not parts["embedding"].requires_grad
    torch.testing.assert_close(parts["embedding"].norm(dim=1), torch.ones(16))
    assert int(method.backbone.blocks[0][1].num_batches_tracked) == 1, "one batch of statistics for all 2N views"
    expected = nt_xent(*parts["embedding"].chunk(2), method.temperature)["loss"]
    torch.testing.assert_close(expected, parts["loss"].detach())
    assert method.eval().embed(views[0]).shape == (8, 8), "the representation is the backbone's, without the head"


def test_the_two_views_differ_and_repeat_by_seed():
    """Bug: one draw for both views, or for the whole batch."""
    method, batch = build(augment=SHAPES_VIEWS), Batch(images(8).images, torch.arange(8), None)
    a, b = method.views(batch, torch.Generator().manual_seed(0))
    again = method.views(batch, torch.Generator().manual_seed(0))
    assert (a - b).abs().flatten(1).max(1).values.min() > 0.01
    assert torch.equal(a, again[0]) and torch.equal(b, again[1])
    alike = Batch(images(8).images[:1].expand(8, -1, -1, -1), torch.zeros(8, dtype=torch.long), None)
    views = method.views(alike, torch.Generator().manual_seed(0))[0]
    assert (views[1:] - views[:1]).abs().flatten(1).max(1).values.min() > 0.01


def test_what_an_update_moves():
    method = build()
    before = state(method)
    fit(method, images(), steps=2, **SMALL, lr=0.01)
    moved = {name for name, value in state(method).items() if not torch.equal(value, before[name])}
    still = set(before) - moved
    assert still == {"head.4.bias"} and not method.head[4].bias.any(), "the last norm has no offset, all else moves"


@pytest.mark.parametrize("name", ["simclr", "simclr-v2"])
def test_a_resumed_run_is_the_same_run(tmp_path, name):
    settings = {**SMALL, "steps": 7, "log_every": 1}
    whole, again = build(name), build(name, seed=7)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(name), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves


# ---------------------------------------------------------------- SimCLR v2
def test_the_classifier_keeps_the_first_layers_of_the_head():
    """Bug: fine-tuning from the encoder's output, although the head is deep."""
    method = build("simclr-v2").eval()
    x = torch.randn(4, 3, 16, 16)
    for keep, end, width in ((0, 0, 8), (1, 3, 12), (2, 6, 12), (3, 8, 6)):
        network = method.classifier(5, keep).eval()
        assert network[2].in_features == width and not network[2].weight.any() and not network[2].bias.any()
        torch.testing.assert_close(network[:2](x), method.head[:end](method.backbone(x)))
        assert all(p.requires_grad for p in network.parameters())
        theirs = {p.data_ptr() for p in method.parameters()}
        assert not theirs & {p.data_ptr() for p in network.parameters()}, "copies"
    for keep in (-1, 4):
        with pytest.raises(ValueError, match="between 0 and the head's 3 layers"):
            method.classifier(5, keep)


def test_fine_tuning_moves_everything_and_needs_labels():
    network = build("simclr-v2").classifier(3)
    method, before = FineTune(network, 16), state(network)
    history = fit(method, images(), steps=6, **SMALL, lr=0.01)
    assert all(not torch.equal(value, before[name]) for name, value in state(network).items())
    assert history.curves["loss"][0] == pytest.approx(math.log(3), rel=0.2), "from a last layer of zeros"
    assert method.predict(images(4).images).shape == (4, 3) and method.embed(images(4).images).shape == (4, 8)
    with pytest.raises(ValueError, match="labelled images"):
        fit(FineTune(network, 16), ImageSet(images().images, None), steps=1, **SMALL)


def naive_distillation(student, teacher, temperature) -> float:
    def softmax(row):
        terms = [math.exp(v / temperature) for v in row]
        return [term / sum(terms) for term in terms]

    total = 0.0
    for s, t in zip(student, teacher):
        total -= sum(p * math.log(q) for p, q in zip(softmax(t), softmax(s)))
    return total / len(student)


@pytest.mark.parametrize("n, classes, temperature", [(1, 3, 1.0), (5, 4, 0.5), (3, 7, 3.0)])
def test_distillation_equals_its_definition(n, classes, temperature):
    student, teacher = randn(n, classes).requires_grad_(), randn(n, classes, seed=1).requires_grad_()
    loss = distillation_loss(student, teacher, temperature)
    assert loss.item() == pytest.approx(naive_distillation(student.tolist(), teacher.tolist(), temperature), rel=1e-10)
    loss.backward()
    assert teacher.grad is None, "no gradient to the teacher"
    fixed = teacher.detach()
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, fixed, temperature), (student,))
    # bug: a temperature on one side only; then a student equal to the teacher would not be the optimum
    equal = fixed.clone().requires_grad_()
    distillation_loss(equal, fixed, temperature).backward()
    torch.testing.assert_close(equal.grad, torch.zeros_like(equal), atol=1e-12, rtol=0)


def test_the_losses_of_labels_and_of_a_teacher_have_float32_or_better():
    student, teacher = randn(5, 4, dtype=torch.float32), randn(5, 4, seed=1, dtype=torch.float32)
    wanted = distillation_loss(student, teacher, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(distillation_loss(student, teacher, 0.5), wanted)
        assert distillation_loss(student.bfloat16(), teacher.half()).dtype == torch.float32
    method = FineTune(build("simclr-v2").classifier(3), 16).double()
    views = torch.rand(6, 3, 16, 16, dtype=torch.float64), torch.arange(6) % 3
    assert method.loss(views)["loss"].dtype == torch.float64


def test_distillation_without_labels_moves_the_student_only():
    """Bug: gradient or batch-norm updates in the teacher."""
    method = build("simclr-v2")
    teacher, student = method.classifier(3), method.classifier(3)
    torch.nn.init.normal_(teacher[2].weight)
    teacher.train()
    distill, before = Distill(student, teacher, 16, temperature=0.5), (state(student), state(teacher))
    assert not distill.teacher.training, "before the first call of train()"
    assert not distill.train().teacher.training and distill.network.training
    unlabelled = ImageSet(images().images, None)
    fit(distill, unlabelled, steps=4, **SMALL, lr=0.01)
    assert same(state(teacher), before[1]) and all(p.grad is None for p in teacher.parameters())
    assert not same(state(student), before[0])


def test_the_student_comes_to_say_what_the_teacher_says():
    pretrained = build("simclr-v2")
    teacher, student = pretrained.classifier(3).eval(), pretrained.classifier(3)
    torch.nn.init.normal_(teacher[2].weight, generator=torch.Generator().manual_seed(0))
    x = standardize(images().images)
    with torch.no_grad():
        teacher[2].weight *= 2 / teacher(x).std()

    def apart():
        with torch.no_grad():
            return distillation_loss(student.eval()(x), teacher(x)).item()

    before = apart()
    fit(Distill(student, teacher, 16, augment=Augment(16, scale=(1.0, 1.0), jitter_p=0, gray_p=0)), images(), steps=30,
        **SMALL, lr=0.02)
    assert isinstance(pretrained, SimCLRv2) and apart() < before - 0.02


@pytest.mark.parametrize("temperature", [0.0, -0.2])
def test_a_temperature_must_be_positive(temperature):
    for act in (lambda: nt_xent(randn(2, 4), randn(2, 4), temperature),
                lambda: distillation_loss(randn(2, 4), randn(2, 4), temperature)):
        with pytest.raises(ValueError, match="temperature is .* expected a number above 0"):
            act()


def test_one_image_has_no_negatives():
    for name, title in (("simclr", "SimCLR"), ("simclr-v2", "SimCLR v2")):
        with pytest.raises(ValueError, match=f"{title} compares images .* got 1"):
            build(name).loss((torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)))


# ---------------------------------------------------------------- more views, small at first
def test_of_four_views_each_must_find_the_three_others_of_its_image():
    method, views = build(count=4).double(), [randn(3, 3, 16, 16, seed=seed).sigmoid() for seed in range(4)]
    z = method.head(method.backbone(standardize(torch.cat(views))))
    z = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in z.tolist()]  # view 1 of each image, view 2...
    total = 0.0
    for i in range(12):
        terms = {j: math.exp(sum(v * w for v, w in zip(z[i], z[j])) / 0.2) for j in range(12) if j != i}
        total -= sum(math.log(terms[j] / sum(terms.values())) for j in terms if j % 3 == i % 3) / 3
    parts = method.loss(views)
    assert float(parts["loss"].detach()) == pytest.approx(total / 12, rel=1e-6) and parts["views_per_image"] == 4
    with pytest.raises(ValueError, match="count is 1"):
        build(count=1)


def test_views_are_as_many_as_asked_for():
    plain, method, batch = build(), build(count=3), Batch(images().images, torch.arange(36))
    two, three = (each.views(batch, torch.Generator().manual_seed(1)) for each in (plain, method))
    assert len(two) == 2 and all(torch.equal(a, b) for a, b in zip(two, three))
