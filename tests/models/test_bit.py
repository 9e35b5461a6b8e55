"""BiT: weight standardisation and group norm against plain Python, what they do not see, and the HyperRule."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.models.backbones import ConvNet, build_backbone
from course_lib.models.bit import StandardisedConv2d, group_norm, hyperrule, hyperrule_rate, standardised_weight
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")


def test_filters_equal_their_definition():
    w = randn(3, 2, 3, 3) * 4 + 1
    found = standardised_weight(w)
    for k in range(3):
        values = w[k].flatten().tolist()
        mean = sum(values) / 18
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 18 + 1e-10)
        assert found[k].flatten().tolist() == pytest.approx([(v - mean) / deviation for v in values])
    assert torch.autograd.gradcheck(standardised_weight, randn(2, 1, 2, 2).requires_grad_())
    assert not standardised_weight(torch.ones(2, 3, 3, 3)).any(), "a constant filter is nothing, and no NaN"


def test_scale_and_mean_of_a_filter_do_not_matter_and_its_gradient_is_orthogonal_to_both():
    conv, x = StandardisedConv2d(3, 4, 3, padding=1).double(), randn(2, 3, 6, 6)
    before = conv(x)
    before.square().sum().backward()
    gradient, weight = conv.weight.grad.flatten(1), conv.weight.detach().flatten(1)
    size = float(gradient.norm())
    assert float((gradient * (weight - weight.mean(1, keepdim=True))).sum(1).abs().max()) < 1e-6 * size
    assert float(gradient.sum(1).abs().max()) < 1e-10 * size
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    torch.testing.assert_close(conv(x), before)


@pytest.mark.parametrize("width, groups", [(128, 32), (64, 16), (32, 8), (8, 2), (4, 1), (3, 1), (36, 9), (1024, 32)])
def test_groups_of_four_channels_or_more(width, groups):
    assert group_norm(width).num_groups == groups


def test_an_image_does_not_see_its_batch():
    torch.manual_seed(0)
    net = build_backbone("convnet", 16, depth=2, widths=(4, 8), norm="group", standardized=True).train()
    x = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(net(x)[:1], net(x[:1]))
    plain = ConvNet(2, (4, 8)).train()
    assert not torch.allclose(plain(x)[:1], plain(torch.cat([x[:1], x[2:] * 2]))[:1])
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters())
    norms = [m for m in net.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert not norms and build_backbone("resnet18", 32, norm="group")(torch.rand(1, 3, 32, 32)).shape == (1, 512)


def test_the_rule_by_its_three_sizes():
    sizes, steps = (1, 19_999, 20_000, 499_999, 500_000), [500, 500, 10_000, 10_000, 20_000]
    assert [hyperrule(n, 32, 32).steps for n in sizes] == steps
    assert [hyperrule(n, 32, 32).mixup for n in (19_999, 20_000, 10**6)] == [0.0, 0.1, 0.1]
    assert [(hyperrule(1, side, side).resize, hyperrule(1, side, side).crop) for side in (95, 96)] == [
        (160, 128), (512, 480)]
    with pytest.raises(ValueError, match="0 images of 32 x 32; expected numbers from 1 up"):
        hyperrule(0, 32, 32)


@pytest.mark.parametrize("images", [1000, 100_000, 10**6])
def test_the_rate_rises_then_falls_after_each_support(images):
    rule = hyperrule(images, 32, 32)
    for step in range(0, rule.steps + 3, 50):
        if step >= rule.steps:
            wanted = None
        elif step < rule.supports[0]:
            wanted = 0.003 * step / rule.supports[0]
        else:
            wanted = 0.003
            for support in rule.supports[1:]:
                if support < step:
                    wanted /= 10
        found = hyperrule_rate(step, rule.supports)
        assert found is None if wanted is None else found == pytest.approx(wanted)
    assert hyperrule_rate(rule.supports[1], rule.supports) == 0.003, "at the support the old rate still holds"
