"""Backbones: sizes, parameters, stages, exports (the ViT: test_vit.py)."""

from __future__ import annotations

import pytest
import torch

from course_lib.methods import build_method
from course_lib.models.backbones import BACKBONES, ConvNet, ResNet, build_backbone, mean_of_positions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name, size, dim", [
    ("convnet", 32, 128), ("convnet", 48, 128), ("resnet18", 32, 512), ("resnet18", 96, 512), ("resnet50", 32, 2048),
    ("vit-tiny", 32, 192), ("vit-tiny", 96, 192), ("vit-small", 32, 384)])
def test_a_backbone_gives_a_representation(name, size, dim):
    net = build_backbone(name, size).eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        z = net(images)
    assert z.shape == (2, dim) and net.dim == dim and z.isfinite().all()
    assert not torch.allclose(z[0], z[1]), "it must not ignore its input"
    if hasattr(net, "stages"):
        maps = net.stages(images)
        assert [tuple(x.shape) for x in maps] == [(2, w, size // s, size // s) for w, s in zip(net.widths, net.strides)]
        torch.testing.assert_close(net(images), maps[-1].mean((2, 3)))
    assert name in BACKBONES


def test_the_gradient_of_pooling_is_laid_out_as_the_map():
    """Bug: maps.mean((2, 3)), whose gradient has the channels first; the ReLU before it then reads one of two in
    leaps.
    """
    maps = torch.randn(4, 8, 3, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    maps.requires_grad_()
    inner, seen = maps * 1, []
    inner.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    pooled = mean_of_positions(inner)
    torch.testing.assert_close(pooled, maps.mean((2, 3)))
    pooled.square().sum().backward()
    assert seen == [True]
    torch.testing.assert_close(maps.grad, (2 * pooled / 15)[:, :, None, None].expand_as(maps))


def test_the_small_net_is_small():
    count = sum(p.numel() for p in build_backbone("convnet").parameters())
    assert 0.25e6 < count < 0.35e6


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_depth_fixes_the_stride(depth):
    net = ConvNet(depth)
    assert net.strides == tuple(2 ** (i + 1) for i in range(depth)) and len(net.widths) == depth
    assert net.stages(torch.rand(2, 3, 32, 32))[-1].shape == (2, net.dim, 32 // 2**depth, 32 // 2**depth)


def test_settings_that_do_not_fit():
    for build, says in ((lambda: ConvNet(6), "depth must be between 1 and 5"), (lambda: ConvNet(0), "depth"),
                        (lambda: build_backbone("resnet"), "unknown backbone 'resnet': choose one of convnet")):
        with pytest.raises(ValueError, match=says):
            build()


@pytest.mark.parametrize("size", [32, 96])
def test_a_resnets_weights_are_torchvisions(size):
    import torchvision

    ours, theirs = ResNet("resnet18", size).eval(), torchvision.models.resnet18(weights=None).eval()
    state = ours.export()
    if size == 32:
        assert state["conv1.weight"].shape == (64, 3, 3, 3)
        state = {k: v for k, v in state.items() if k != "conv1.weight"}
    answer = theirs.load_state_dict(state, strict=False)
    missing = {"fc.weight", "fc.bias"} | ({"conv1.weight"} if size == 32 else set())
    assert set(answer.missing_keys) == missing and not answer.unexpected_keys
    if size == 96:
        theirs.fc = torch.nn.Identity()
        images = torch.randn(2, 3, 96, 96)
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_residual_branches_may_start_at_zero(name):
    resnet = build_backbone(name, 32, zero_init_residual=True)
    last = [getattr(block, "bn3", None) or block.bn2 for block in resnet.net.modules() if hasattr(block, "bn2")]
    assert len(last) == {"resnet18": 8, "resnet50": 16}[name] and all((norm.weight == 0).all() for norm in last)
    assert all((block.bn1.weight == 1).all() for block in resnet.net.modules() if hasattr(block, "bn2"))
    assert not any((norm == 0).all() for key, norm in build_backbone(name, 32).state_dict().items()
                   if key.endswith("bn2.weight"))


@pytest.mark.parametrize("method, zero", [("simclr", True), ("byol", True), ("simsiam", True), ("barlow-twins", True),
                                          ("vicreg", True), ("moco-v2", False), ("swav", False)])
def test_which_methods_start_their_residual_branches_at_zero(method, zero):
    net = build_method(method, "resnet18", 32).backbone.net
    assert bool((net.layer4[1].bn2.weight == 0).all()) == zero


@pytest.mark.parametrize("backbone", ["convnet", "resnet18", "vit-tiny"])
def test_one_image_is_not_a_batch(backbone):
    with pytest.raises(ValueError, match=r"expected a batch \(B, 3, H, W\)"):
        build_backbone(backbone, 32)(torch.rand(3, 32, 32))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_unpadded_net_has_the_papers_maps(size):
    """Each vector of the 7x7 map sees one square of the picture, and there are no batch norms that see all."""
    net = build_backbone("amdim-net", size, width=4, dim=20).eval()
    images = torch.rand(2, 3, size, size)
    maps = net.stages(images)
    assert [m.shape[2] for m in maps] == [7, 5, 1] and [m.shape[1] for m in maps] == [16, 16, 20] == list(net.widths)
    torch.testing.assert_close(net(images), maps[-1][:, :, 0, 0])
    for block in net.modules():
        if hasattr(block, "last"):
            torch.nn.init.normal_(block.last.weight)  # it starts at 0
    images.requires_grad_()
    net.stages(images)[0][0, :, 3, 3].sum().backward()
    rows = images.grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert 0 < rows.min() and rows.max() < size - 1 and len(rows) < size / 2, "the middle cell sees the middle"
    assert images.grad[1].abs().sum() == 0


def test_the_unpadded_net_says_what_does_not_fit():
    with pytest.raises(ValueError, match="images of 32, 64 or 128 pixels, got 48: set the image size"):
        build_backbone("amdim-net", 48)
    with pytest.raises(ValueError, match="expected a dim of four times the width or more"):
        build_backbone("amdim-net", 32, width=32, dim=64)
    with pytest.raises(ValueError, match="built for images of 32 pixels, got \\(2, 3, 8, 8\\)"):
        build_backbone("amdim-net", 32).stages(torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_layer_norm_looks_at_one_image_alone(name):
    """Of an image in another batch the representation is the same, also while it trains."""
    net, images = build_backbone(name, 32, norm="layer").train(), torch.rand(4, 3, 32, 32)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    torch.testing.assert_close(net(images)[:2], net(images[:2]), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="norm is 'instance'; expected batch, layer, group"):
        build_backbone(name, 32, norm="instance")


def test_the_side_of_the_first_filters():
    net = ConvNet(first=7)
    assert net.blocks[0][0].weight.shape == (32, 3, 7, 7) and net.blocks[0][3].weight.shape[2:] == (3, 3)
    images = torch.rand(2, 3, 32, 32)
    assert [stage.shape for stage in net.stages(images)] == [stage.shape for stage in ConvNet().stages(images)]
    with pytest.raises(ValueError, match="first must be odd, such as 3 or 7, got 4"):
        ConvNet(first=4)


def test_skip_connections_hand_on_what_comes_in_and_have_no_parameters():
    plain, skips = ConvNet(convs=2).eval(), ConvNet(convs=2, skips=True).eval()
    assert [p.shape for p in plain.parameters()] == [p.shape for p in skips.parameters()]
    assert sum(isinstance(module, torch.nn.ReLU) for module in skips.modules()) == 9
    block = skips.blocks[0]
    for norm in block[3].branch:
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.zeros_(norm.weight)  # so that the branch is 0
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(block(images), block[:3](images))
        assert not torch.equal(skips.blocks[1](block(images)), skips.blocks[1][:3](block(images)))
