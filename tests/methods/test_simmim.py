"""SimMIM: masks, loss and whole forward against loops, and the bugs that people shipped."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.augment.masks import coarse_mask, hidden_count
from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.masked.simmim import SIMMIM_VIT, SimMIM, pixel_shuffle, simmim_loss
from course_lib.models.backbones import ConvNet
from course_lib.models.patches import normalize_patches, patchify, unpatchify
from course_lib.models.vit import ViT
from course_lib.train.loop import fit
from helpers import tiny
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")


def small_simmim(**options) -> SimMIM:
    torch.manual_seed(0)
    method = SimMIM(ViT(16, patch=4, dim=24, depth=2, heads=3, **SIMMIM_VIT), 16, **options)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return method.double().eval()


def some_visible(batch=2, seed=5):
    return randn(batch, 4, 4, seed=seed) > 0


# ---------------------------------------------------------------- the mask
def test_the_mask_is_coarser_than_the_patches():
    """Bug: the mask drawn on the encoder's own patches. Each 2 x 2 block is hidden or visible as one."""
    noise = randn(50, 4, 4)
    hidden = ~coarse_mask(noise, 0.6, 2)
    assert hidden.shape == (50, 8, 8) and hidden.dtype == torch.bool
    for image in range(50):
        order = sorted(range(16), key=lambda patch: float(noise[image].flatten()[patch]))
        chosen = set(order[:10])
        for row in range(8):
            for column in range(8):
                assert bool(hidden[image, row, column]) == (row // 2 * 4 + column // 2 in chosen)


def test_the_hidden_count_is_rounded_up():
    """MAE rounds the kept count down, SparK rounds it to even: at ratio 0.6 of 4 patches they hide 3, 2 and SimMIM
    3.
    """
    assert [hidden_count(36, 0.6), hidden_count(49, 0.6), hidden_count(16, 0.5), hidden_count(4, 0.6)] == [22, 30, 8, 3]
    assert (~coarse_mask(randn(3, 2, 2), 0.3)).flatten(1).sum(1).tolist() == [2, 2, 2]


# ---------------------------------------------------------------- the loss
def naive_simmim(prediction, images, visible) -> float:
    batch, channels, size, _ = images.shape
    patch, total, pixels = size // visible.shape[1], 0.0, 0
    for b in range(batch):
        for i in range(size):
            for j in range(size):
                if not visible[b, i // patch, j // patch]:
                    pixels += 1
                    total += sum(abs(float(prediction[b, c, i, j] - images[b, c, i, j])) for c in range(channels))
    return total / (pixels + 1e-5) / channels


def test_the_loss_equals_its_definition():
    images, prediction = randn(2, 3, 8, 8), randn(2, 3, 8, 8, seed=1)
    visible = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [1, 0]]]).bool()  # unequal counts: one ratio over the batch
    assert float(simmim_loss(prediction, images, visible)) == pytest.approx(naive_simmim(prediction, images, visible))
    assert float(simmim_loss(images + 2, images, visible)) == pytest.approx(2), "a mean per value, not per pixel"


def test_gradients_of_the_loss():
    images, visible = randn(2, 3, 8, 8), torch.tensor([[[0, 1], [1, 1]], [[0, 0], [1, 0]]]).bool()
    prediction = randn(2, 3, 8, 8, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: simmim_loss(p, images, visible), prediction)
    simmim_loss(prediction, images, visible).backward()
    where = ~visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(images)
    assert (prediction.grad[~where] == 0).all(), "visible pixels are free"


def test_the_loss_is_float32_under_autocast():
    images, visible = torch.randn(2, 3, 8, 8), torch.zeros(2, 2, 2, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        assert simmim_loss(torch.randn(2, 3, 8, 8).bfloat16(), images, visible).dtype == torch.float32


def test_channels_are_read_as_pixel_shuffle_reads_them():
    """Bug: MAE's order, (row, column, channel), under a layer whose channels are (channel, row, column)."""
    maps = randn(2, 48, 3, 3)
    assert torch.equal(pixel_shuffle(maps, 4), F.pixel_shuffle(maps, 4))
    as_mae = unpatchify(maps.flatten(2).mT, 4)
    assert not torch.equal(pixel_shuffle(maps, 4), as_mae)


# ---------------------------------------------------------------- the whole forward
@torch.no_grad()
def test_the_whole_forward_equals_loops():
    method, images, visible = small_simmim(), randn(2, 3, 16, 16), some_visible()
    vit = method.backbone
    x = F.conv2d(images, vit.patch_embed.weight, vit.patch_embed.bias, stride=4).flatten(2).mT
    for b in range(2):
        for patch in range(16):
            if not visible[b].flatten()[patch]:
                x[b, patch] = method.mask_token[0, 0]
    x = torch.cat([vit.class_token.expand(2, -1, -1), x], 1)  # no absolute positions
    for block in vit.blocks:
        y = block.norm1(x)
        q, k, v = F.linear(y, block.attn.qkv.weight).split(24, -1)
        q, v = q + block.attn.q_bias, v + block.attn.v_bias
        heads = []
        for h in range(3):
            part = slice(8 * h, 8 * h + 8)
            bias = vit.relative.table[vit.relative.index, h]  # one table for all layers
            heads.append((q[..., part] / math.sqrt(8) @ k[..., part].mT + bias).softmax(-1) @ v[..., part])
        x = x + block.scale1 * block.attn.proj(torch.cat(heads, -1))
        x = x + block.scale2 * block.mlp(block.norm2(x))
    z = vit.norm(x)[:, 1:].mT.reshape(2, 24, 4, 4)
    wanted = F.pixel_shuffle(F.conv2d(z, method.head.weight, method.head.bias), 4)
    torch.testing.assert_close(method.decode(images, visible), wanted)
    loss = method.loss(((images + 1.8) / 4, visible))["loss"]
    assert float(loss) == pytest.approx(naive_simmim(wanted, images, visible), rel=1e-8)


# official name (microsoft/SimMIM, models/simmim.py, vision_transformer.py) -> ours
OFFICIAL = {"encoder.patch_embed.proj.": "backbone.patch_embed.", "encoder.cls_token": "backbone.class_token",
            "encoder.mask_token": "mask_token", "encoder.blocks.": "backbone.blocks.",
                "encoder.norm.": "backbone.norm.",
            "encoder.rel_pos_bias.relative_position_bias_table": "backbone.relative.table", "decoder.0.": "head."}


def translated(name: str) -> str:
    prefix = next((old for old in OFFICIAL if name.startswith(old)), "")
    name = OFFICIAL.get(prefix, "") + name.removeprefix(prefix)
    for old, new in (("gamma_1", "scale1"), ("gamma_2", "scale2"), ("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.2")):
        name = name.replace(old, new)
    return name


def test_official_names_map_onto_ours():
    """The 40 tensors of the official model over a ViT: one is the relative index, which is fixed."""
    official = {"encoder.cls_token": (1, 1, 24), "encoder.mask_token": (1, 1, 24),
                "encoder.patch_embed.proj.weight": (24, 3, 4, 4), "encoder.patch_embed.proj.bias": (24,),
                "encoder.rel_pos_bias.relative_position_bias_table": (52, 3), "encoder.norm.weight": (24,),
                "encoder.norm.bias": (24,), "decoder.0.weight": (48, 24, 1, 1), "decoder.0.bias": (48,)}
    for i in range(2):
        b = f"encoder.blocks.{i}."
        official |= {f"{b}gamma_1": (24,), f"{b}gamma_2": (24,), f"{b}attn.q_bias": (24,), f"{b}attn.v_bias": (24,),
                     f"{b}attn.qkv.weight": (72, 24)}
        for name, shape in (("attn.proj", (24, 24)), ("mlp.fc1", (96, 24)), ("mlp.fc2", (24, 96))):
            official |= {f"{b}{name}.weight": shape, f"{b}{name}.bias": shape[:1]}
        official |= {f"{b}norm{n}.{kind}": (24,) for n in (1, 2) for kind in ("weight", "bias")}
    assert len(official) == 39
    ours = {name: tuple(tensor.shape) for name, tensor in small_simmim().state_dict().items()}
    assert {translated(name): shape for name, shape in official.items()} == ours


# ---------------------------------------------------------------- the module
@torch.no_grad()
def test_hidden_pixels_never_matter():
    method, images, visible = small_simmim(), randn(2, 3, 16, 16), some_visible()
    where = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(where, images, randn(2, 3, 16, 16, seed=9))
    torch.testing.assert_close(method.decode(images, visible), method.decode(other, visible))


def test_the_start_is_the_papers():
    torch.manual_seed(0)
    method = SimMIM(ViT(32, patch=4, dim=96, depth=2, heads=3, **SIMMIM_VIT), 32)
    assert method.mask_token.abs().max() <= 0.02 and float(method.mask_token.detach().std()) == pytest.approx(0.0108,
                                                                                                              rel=0.3)
    assert float(method.backbone.patch_embed.weight.detach().std()) == pytest.approx(0.0108, rel=0.05)
    assert (method.backbone.blocks[0].scale1 == 0.1).all() and (method.backbone.relative.table == 0).all()


def test_views_hide_blocks_of_the_mask_patch():
    method = build_method("simmim", "vit-tiny", backbone_options={"dim": 24, "depth": 1, "heads": 3})
    assert method.mask_patch == 8 and method.patch == 4
    images, visible = method.views(Batch(tiny.images(8, 32).images, torch.arange(8), None),
                                   torch.Generator().manual_seed(0))
    assert images.shape == (8, 3, 32, 32) and visible.shape == (8, 8, 8)
    blocks = visible.unflatten(1, (4, 2)).unflatten(3, (4, 2)).transpose(2, 3).flatten(3)  # 4 x 4 blocks of 4 flags
    assert ((blocks.sum(-1) == 0) | (blocks.sum(-1) == 4)).all()
    assert ((~visible).flatten(1).sum(1) == 4 * 10).all()


@pytest.mark.parametrize("normalized", [False, True])
def test_a_reconstruction_keeps_what_is_visible(normalized):
    method = small_simmim(normalized=normalized).float()
    images, visible = torch.rand(2, 3, 16, 16), some_visible()
    out = method.reconstruct(images, visible)
    where = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(images)
    torch.testing.assert_close(out[where], images[where])
    with torch.no_grad():
        drawn = method.decode(standardize(images), visible)
    if not normalized:
        torch.testing.assert_close(out[~where], (drawn * 0.25 + 0.45).clamp(0, 1)[~where])
    target = standardize(images)
    if normalized:
        target = unpatchify(normalize_patches(patchify(target, 4))[0], 4)
    wanted = naive_simmim(drawn, target, visible)
    assert float(method.loss((images, visible))["loss"].detach()) == pytest.approx(wanted, rel=1e-5)


def test_every_parameter_learns():
    torch.manual_seed(0)
    method = build_method("simmim", "vit-tiny", 16, backbone_options={"patch": 4, "dim": 24, "depth": 1, "heads": 3,
                                                                      **SIMMIM_VIT})
    start = tiny.state(method)
    fit(method, tiny.images(), steps=3, **tiny.SMALL)
    stayed = [name for name, tensor in tiny.state(method).items() if torch.equal(tensor, start[name])]
    assert not stayed


def test_what_it_refuses():
    vit = ViT(16, patch=4, dim=24, depth=1, heads=3)
    for act, says in ((lambda: SimMIM(ConvNet(2), 32), "a ConvNet has none; use a ViT"),
                      (lambda: SimMIM(vit, 32), "built for 16 pixels, the method for 32"),
                      (lambda: SimMIM(vit, 16, mask_patch=6), "multiple of the ViT's patch 4"),
                      (lambda: SimMIM(vit, 16, mask_patch=0), "mask_patch 0 must be a multiple of the ViT's patch 4"),
                      (lambda: SimMIM(vit, 16, mask_patch=8, mask_ratio=0.9), "one hidden and one visible")):
        with pytest.raises(ValueError, match=says):
            act()


def test_every_parameter_is_trained_once_and_the_bias_quickly():
    method = build_method("simmim", "vit-tiny", 32, bias_lr=7.0)
    groups = method.param_groups(0.1)
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    table = method.backbone.relative.table
    assert [group["lr_scale"] for group in groups if any(p is table for p in group["params"])] == [7]


# ---------------------------------------------------------------- as in the official code
def test_the_position_bias_decays_and_the_class_token_does_not():
    """no_weight_decay of the official ViT: class token and positions; vectors besides."""
    method = build_method("simmim", "vit-tiny", 32)
    decay = {id(p): group["weight_decay"] for group in method.param_groups(0.1) for p in group["params"]}
    assert decay[id(method.backbone.relative.table)] == 0.1 and decay[id(method.backbone.class_token)] == 0.0
    assert decay[id(method.mask_token)] == 0.1 and decay[id(method.backbone.norm.weight)] == 0.0
    assert len(decay) == sum(p.requires_grad for p in method.parameters())
