"""PGD: a step against plain Python, the ball and the pixels, more steps and restarts, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.evaluate import InPixels, pgd_accuracy, pgd_step, projected
from course_lib.evaluate.robustness import climb
from course_lib.models.backbones import ConvNet

pytestmark = pytest.mark.usefixtures("one_thread")


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def linear(seed=0):
    torch.manual_seed(seed)
    return InPixels(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))


def conv(seed=0):
    torch.manual_seed(seed)
    return InPixels(ConvNet(2, (4, 8)), nn.Linear(8, 3)).train()


def test_a_step_equals_its_definition():
    """A naive step: the gradient of cross-entropy by its formula, pixel by pixel, then back into ball and range."""
    net, x, labels = linear(), rand(2, 3, 4, 4), torch.tensor([0, 2])
    centre = (x + 0.02).clamp(0, 1)
    weight = net.head.weight.detach() / 0.25  # of the pixels
    found, right = pgd_step(net, x, centre, labels, 0.05, 0.04)
    logits = net(x).detach()
    for b in range(2):
        p = logits[b].softmax(0)
        gradient = sum((p[k] - float(k == labels[b])) * weight[k] for k in range(3))
        for place, value in enumerate(x[b].flatten().tolist()):
            moved = value + 0.04 * (1 if gradient[place] > 0 else -1)
            low, high = float(centre[b].flatten()[place]) - 0.05, float(centre[b].flatten()[place]) + 0.05
            wanted = min(max(min(max(moved, low), high), 0.0), 1.0)
            assert float(found[b].flatten()[place]) == pytest.approx(wanted, abs=1e-6)
    assert right.tolist() == (logits.argmax(1) == labels).tolist()


def test_the_projection_is_into_the_ball_and_into_the_pixels():
    x = projected(rand(4, 3, 5, 5) * 4 - 2, centre := rand(4, 3, 5, 5, seed=1), 0.1)
    assert float((x - centre).abs().max()) <= 0.1 + 1e-6 and 0 <= float(x.min()) and float(x.max()) <= 1


def test_of_a_linear_classifier_the_worst_case_is_known():
    """Two classes: a picture stands iff its margin exceeds epsilon times the 1-norm of the weights' difference."""
    torch.manual_seed(0)
    net = InPixels(nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        net.head.weight.mul_(4)
    x, labels = rand(60, 3, 4, 4) * 0.5 + 0.25, torch.arange(60) % 2
    difference = (net.head.weight[1] - net.head.weight[0]).detach() / 0.25
    margin = (net(x)[:, 1] - net(x)[:, 0]).detach() * (2 * labels - 1)
    for epsilon in (0.005, 0.02, 0.05):
        wanted = float((margin > epsilon * difference.abs().sum()).double().mean())
        found = pgd_accuracy(net, x, labels, epsilon=epsilon, step=epsilon / 2, steps=(0, 8))
        assert found[0] == pytest.approx(float((margin > 0).double().mean())) and found[8] == pytest.approx(wanted)


def test_more_steps_and_more_restarts_never_raise_it():
    net, x = conv(), rand(40, 3, 16, 16)
    with torch.no_grad():  # so that both answers are frequent, and near
        logits = net.eval()(x)
        net.head.bias -= logits.median(0).values
    labels = net(x).argmax(1)  # all right without an attack
    one = pgd_accuracy(net, x, labels, epsilon=0.02, step=0.005, steps=range(8))
    more = pgd_accuracy(net, x, labels, epsilon=0.02, step=0.005, steps=range(8), restarts=3)
    values = [one[k] for k in range(8)]
    assert values[0] == 1.0 and values == sorted(values, reverse=True) and values[-1] < 1
    assert all(more[k] <= one[k] for k in range(8))
    assert pgd_accuracy(net, x, labels, epsilon=0.02, step=0.005, steps=(7,))[7] == one[7], "whatever else is asked"


def test_the_network_is_left_as_it_was():
    net, x = conv(), rand(6, 3, 16, 16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pgd_accuracy(net, x, torch.zeros(6, dtype=torch.int64), steps=(3,))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and all(p.grad is None for p in net.parameters())


def test_what_does_not_fit_is_a_sentence():
    x, labels = rand(4, 3, 4, 4), torch.zeros(4, dtype=torch.int64)
    for wrong in (x * 2, (x * 255).to(torch.uint8), x - 1):
        with pytest.raises(ValueError, match=r"images are not floats in \[0, 1\]"):
            pgd_accuracy(linear(), wrong, labels)
    with pytest.raises(ValueError, match=r"steps are \(-1,\) and restarts 1"):
        pgd_accuracy(linear(), x, labels, steps=(-1,))
    with pytest.raises(ValueError, match="restarts 0; expected"):
        pgd_accuracy(linear(), x, labels, restarts=0)
    with pytest.raises(ValueError, match="epsilon is 0; expected a number above 0"):
        pgd_accuracy(linear(), x, labels, epsilon=0)


def test_a_climb_ends_where_the_answer_turns():
    net, x = linear(), rand(6, 3, 4, 4)
    labels = net(x).argmax(1)
    moved = climb(net, x, labels)
    assert (net(moved).argmax(1) != labels).all()
    for image, label, end in zip(x, labels, moved):  # one image, step by step
        here = image[None].clone()
        while net(here).argmax() == label:
            here.requires_grad_()
            slope = torch.autograd.grad(nn.functional.cross_entropy(net(here), label[None]), here)[0]
            here = (here + 0.05 * slope / slope.norm()).detach()
        torch.testing.assert_close(end[None], here, atol=1e-5, rtol=0)
    assert climb(net, x, (labels + 1) % 3).equal(x), "what is wrong already is left as it is"
