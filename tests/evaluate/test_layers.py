"""Layer by layer: which maps, how many features, what is read, and batch norm put into a convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.augment.pixels import standardize
from course_lib.data.images import Splits
from course_lib.data.shapes import make_shapes
from course_lib.evaluate import absorbed, layer_features, layer_maps, layer_probes, linear_probe, raw_pixels, same_size
from course_lib.evaluate.layers import probed_layers, probed_pixels, ridge_layers, side_for, smoothness
from course_lib.models.backbones import ConvNet, ResNet, build_backbone
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("maps, side, features, wanted", [(32, 16, 1024, 6), (64, 8, 1024, 4), (128, 4, 1024, 3),
                                                          (256, 2, 1024, 2), (96, 55, 9000, 10), (8, 4, 1024, 4),
                                                          (2048, 4, 1024, 1)])
def test_the_side_gives_about_as_many_features(maps, side, features, wanted):
    assert side_for(maps, side, features) == wanted


def test_the_largest_of_each_window():
    x = randn(2, 3, 7, 7)
    found = same_size(x, 3 * 3 * 3).view(2, 3, 3, 3)
    for i in range(3):
        for j in range(3):
            rows = slice(i * 7 // 3, -(-(i + 1) * 7 // 3))
            columns = slice(j * 7 // 3, -(-(j + 1) * 7 // 3))
            assert torch.equal(found[:, :, i, j], x[:, :, rows, columns].amax((2, 3)))


def test_every_relu_of_a_convnet_and_a_resnet():
    net = ConvNet(2, (4, 8)).eval()
    x = torch.rand(2, 3, 16, 16)
    maps = layer_maps(net, x)
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 8, 8), (4, 8, 8), (8, 4, 4), (8, 4, 4)]
    first = net.blocks[0]
    torch.testing.assert_close(maps[0], first[2](first[1](first[0](x))))
    for mine, stage in zip(maps[1::2], net.stages(x)):
        torch.testing.assert_close(mine, stage)
    assert not any(module._forward_hooks for module in net.modules())
    assert len(layer_maps(ResNet("resnet18").eval(), x)) == 17
    assert len(layer_maps(build_backbone("amdim-net"), torch.rand(1, 3, 32, 32))) == 3
    with pytest.raises(ValueError, match="a look at every layer needs feature maps, ViT has none"):
        layer_maps(build_backbone("vit-tiny", 16, dim=24, depth=1, heads=2), x)


def test_features_of_all_layers_are_about_as_many_and_nothing_moves():
    net, data = ConvNet(3, (8, 16, 32)).train(), make_shapes(20)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = layer_features(net, data, 128, batch_size=7)
    assert [tuple(f.shape) for f in found] == [(20, 128), (20, 128), (20, 144), (20, 144), (20, 128), (20, 128)]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()) and net.training
    whole = layer_maps(net.eval(), standardize(data.images))
    torch.testing.assert_close(found[2], same_size(whole[2].detach(), 128))
    with pytest.raises(ValueError, match="features is 0; expected a number from 1 up"):
        layer_features(net, data, 0)


def test_a_probe_of_each_layer():
    parts = [make_shapes(n, seed=n) for n in (200, 80, 81)]
    torch.manual_seed(0)
    scores = layer_probes(ConvNet(2, (4, 8)), Splits(*parts), features=64, limit=150)
    assert [s.layer for s in scores] == [1, 2, 3, 4] and {s.features for s in scores} == {64, 72}
    assert [s.maps for s in scores] == [4, 4, 8, 8] and all(0 <= s.accuracy <= 1 for s in scores)
    assert scores == layer_probes(_same(), Splits(*parts), features=64, limit=150)

    assert probed_layers(_same(), {"shapes": Splits(*parts)}, 64, 150) == {"shapes": [s.accuracy for s in scores]}
    pixels = [(raw_pixels(part), part.labels) for part in parts]
    assert probed_pixels({"shapes": Splits(*parts)}, None) == {"shapes": [linear_probe(*pixels).accuracy]}


def test_ridge_regression_of_each_layer():
    known, test = make_shapes(60, seed=1), make_shapes(30, seed=2)
    found, layers = ridge_layers(_same(), known, test, 64), layer_features(_same(), known, 64)
    assert len(found) == len(layers) == 4
    bank, queries = layers[2], layer_features(_same(), test, 64)[2]
    scaled = [(x - bank.mean(0)) / (bank.std(0, correction=0) + 1e-6) for x in (bank, queries)]
    y = (known.labels[:, None] == torch.arange(8)).double()
    x, q = (part.double() for part in scaled)
    d = x.shape[1]
    weights = torch.linalg.solve(x.T @ x / d + 0.1 * torch.eye(d, dtype=torch.float64), x.T @ y / d)
    share = float(((q @ weights + y.mean(0)).argmax(1) == test.labels).double().mean())
    assert found[2] == pytest.approx(share)


def _same():
    torch.manual_seed(0)
    return ConvNet(2, (4, 8))


@pytest.mark.parametrize("bias, affine", [(True, True), (False, True), (True, False)])
def test_batch_norm_goes_into_the_convolution_before_it(bias, affine):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 3, bias=bias).double(), nn.BatchNorm2d(5, affine=affine).double()
    for _ in range(3):
        norm(conv(randn(4, 3, 8, 8) + 1))
    norm.eval()
    weight, shift = absorbed(conv.weight, conv.bias, norm)
    x = randn(2, 3, 8, 8, seed=1)
    torch.testing.assert_close(nn.functional.conv2d(x, weight, shift), norm(conv(x)))
    with pytest.raises(ValueError, match="keeps no running statistics"):
        absorbed(conv.weight, None, nn.BatchNorm2d(5, track_running_stats=False))


def test_smoothness_of_noise_and_of_slopes():
    noise = torch.randn(400, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    assert abs(smoothness(noise)) < 0.05
    ramp = torch.arange(9.0).expand(4, 2, 9, 9) * torch.tensor([1.0, -2.0, 3.0, 0.5])[:, None, None, None]
    w = ramp[0, 0] - 4.0
    expected = (float((w[:, 1:] * w[:, :-1]).mean()) + float(w.square().mean())) / (2 * float(w.square().mean()))
    assert abs(smoothness(ramp) - expected) < 1e-5
