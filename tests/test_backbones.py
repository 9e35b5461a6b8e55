"""Backbones: sizes, parameters, stages, exports; and the ViT's positions, attention and visible tokens."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib import backbones
from course_lib.augment import patch_mask
from course_lib.backbones import BACKBONES, ConvNet, ResNet, ViT, build_backbone


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
                        (lambda: ViT(30, 4), "not a multiple of the patch 4"),
                        (lambda: ViT(dim=100, heads=3), "heads 3"),
                        (lambda: build_backbone("resnet"), "unknown backbone 'resnet': choose one of convnet"),
                        (lambda: backbones.sincos_positions(4, 6), "multiple of 4")):
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


# ---------------------------------------------------------------- ViT
@pytest.mark.parametrize("grid, dim", [(2, 4), (3, 8), (8, 192)])
def test_positions_equal_a_table_written_with_loops(grid, dim):
    """As MAE: the first half of the channels for the column, the second for the row; sines before cosines."""
    table = backbones.sincos_positions(grid, dim)
    assert table.shape == (grid * grid + 1, dim) and table.dtype == torch.float32
    assert (table[0] == 0).all()
    quarter = dim // 4
    for row in range(grid):
        for column in range(grid):
            wanted = [f(place / 10000 ** (k / quarter)) for place in (column, row) for f in (math.sin, math.cos)
                      for k in range(quarter)]
            assert table[1 + row * grid + column].tolist() == pytest.approx(wanted, abs=1e-6)
    assert torch.equal(backbones.sincos_positions(grid, dim, class_token=False), table[1:])


def small_vit():
    vit = ViT(image_size=16, patch=4, dim=24, depth=3, heads=3)
    with torch.no_grad():
        for p in vit.parameters():  # biases and gains away from 0 and 1
            p.add_(0.05 * torch.randn_like(p))
    return vit.double().eval()


def test_attention_maps_are_those_that_were_used():
    vit, images = small_vit(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    maps = vit.attention(images)
    assert maps.shape == (3, 2, 3, 17, 17) and (maps > 0).all()
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 3, 17, dtype=torch.float64))
    x = vit._embed(images, None)
    for layer, block in enumerate(vit.blocks):  # the whole network again, from the maps and plain loops over heads
        y = block.norm1(x)
        q, k, v = block.attn.qkv(y).split(24, dim=-1)
        heads = [maps[layer][:, h] @ v[..., 8 * h : 8 * h + 8] for h in range(3)]
        scores = [(q[..., 8 * h : 8 * h + 8] @ k[..., 8 * h : 8 * h + 8].mT / math.sqrt(8)).softmax(-1)
                  for h in range(3)]
        torch.testing.assert_close(torch.stack(scores, 1), maps[layer])
        out = block.attn.proj(torch.cat(heads, -1))
        torch.testing.assert_close(out, block.attn(y))
        x = x + out
        z = block.norm2(x)
        first, second = block.mlp[0], block.mlp[2]
        x = x + F.linear(F.gelu(F.linear(z, first.weight, first.bias)), second.weight, second.bias)
    torch.testing.assert_close(vit.norm(x), vit.tokens(images))
    torch.testing.assert_close(vit(images), vit.tokens(images)[:, 0])


def test_visible_tokens_equal_attention_restricted_to_them():
    vit, images = small_vit(), torch.randn(3, 3, 16, 16, dtype=torch.float64)
    everything = torch.ones(3, 4, 4, dtype=torch.bool)
    torch.testing.assert_close(vit.tokens(images, everything), vit.tokens(images))
    visible = patch_mask(3, 4, 0.6, torch.Generator().manual_seed(0))
    got = vit.tokens(images, visible)
    assert got.shape == (3, 7, 24)
    keys = torch.cat([torch.ones(3, 1, dtype=torch.bool), visible.flatten(1)], 1)  # the full sequence, hidden keys shut
    x = vit._embed(images, None)
    for block in vit.blocks:
        y = block.norm1(x)
        q, k, v = (t.unflatten(-1, (3, 8)).transpose(1, 2) for t in block.attn.qkv(y).split(24, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, None, :])
        x = x + block.attn.proj(attended.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    wanted = torch.stack([row[flags] for row, flags in zip(vit.norm(x), keys)])  # reading order
    torch.testing.assert_close(got, wanted)


def test_hidden_patches_are_never_looked_at():
    vit, images = small_vit(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    visible = patch_mask(2, 4, 0.5, torch.Generator().manual_seed(1))
    pixels = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(pixels, images, torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert torch.equal(vit.tokens(images, visible), vit.tokens(other, visible))


def test_positions_are_not_in_the_state_dict_and_not_trained():
    vit = ViT(16, 4, 24, 1, 3)
    assert "positions" not in vit.state_dict() and not vit.positions.requires_grad
    vit(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in vit.parameters())
