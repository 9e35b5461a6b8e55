"""MAE: its parts and its whole forward against loops and plain Python, and the bugs that people shipped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.augment.masks import kept_count, random_masking
from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.masked.mae import MAE, mae_loss, unshuffle
from course_lib.models.backbones import ConvNet
from course_lib.models.patches import patchify, unpatchify
from course_lib.models.positions import sincos_positions
from course_lib.models.vit import ViT
from course_lib.train.loop import fit
from helpers import tiny
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")


def small_mae(**options) -> MAE:
    """In float64, every parameter away from 0 and 1."""
    torch.manual_seed(0)
    method = MAE(ViT(16, patch=4, dim=24, depth=2, heads=3), 16, width=16, heads=2, **options)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return method.double().eval()


def masks(method: MAE, batch: int = 2, seed: int = 3):
    noise = torch.rand(batch, method.grid**2, generator=torch.Generator().manual_seed(seed))
    return random_masking(noise, method.kept)[2].view(batch, method.grid, method.grid)


# ---------------------------------------------------------------- the mask
def test_masking_equals_sorting_by_hand():
    noise = randn(5, 12).sigmoid()
    keep, restore, visible = random_masking(noise, 4)
    for row, kept, back, flags in zip(noise.tolist(), keep.tolist(), restore.tolist(), visible.tolist()):
        order = sorted(range(12), key=lambda patch: row[patch])
        assert kept == order[:4]
        assert [order[place] for place in back] == list(range(12)), "restore undoes the shuffle"
        assert flags == [patch in order[:4] for patch in range(12)]


def test_equal_noise_stays_in_reading_order():
    keep, restore, visible = random_masking(torch.zeros(2, 6), 3)
    assert keep.tolist() == [[0, 1, 2]] * 2 and restore.tolist() == [list(range(6))] * 2


def test_unshuffling_puts_every_token_back():
    """Bug: tokens not put back before the decoder; or put back with `keep`, the shuffle itself, not its inverse."""
    tokens, token = randn(3, 9, 5), randn(1, 1, 5, seed=1)
    keep, restore, visible = random_masking(randn(3, 9, seed=2), 4)
    out = unshuffle(tokens.gather(1, keep[..., None].expand(-1, -1, 5)), token, restore)
    for image in range(3):
        for patch in range(9):
            wanted = tokens[image, patch] if visible[image, patch] else token[0, 0]
            assert torch.equal(out[image, patch], wanted)


def test_the_kept_count_is_rounded_down_in_floats():
    assert [kept_count(16, 0.75), kept_count(49, 0.6), kept_count(10, 0.5), kept_count(100, 0.9)] == [4, 19, 5, 9]
    assert kept_count(10, 0.9) == 0  # 10 * (1 - 0.9) is 0.9999...: a small grid must be guarded
    with pytest.raises(ValueError, match="leaves 0 of 4 patches visible"):
        MAE(ViT(16, patch=8, dim=24, depth=1, heads=3), 16, mask_ratio=0.9)
    with pytest.raises(ValueError, match="leaves 16 of 16"):
        MAE(ViT(16, patch=4, dim=24, depth=1, heads=3), 16, mask_ratio=0.0)


# ---------------------------------------------------------------- the loss
def naive_mae(prediction, images, visible, normalized) -> float:
    batch, channels, size, _ = images.shape
    grid = math.isqrt(prediction.shape[1])
    p, total, count = size // grid, 0.0, 0
    for b in range(batch):
        for patch in range(grid * grid):
            if visible[b].flatten()[patch]:
                continue
            top, left = patch // grid * p, patch % grid * p
            values = [float(images[b, c, top + i,
                                   left + j]) for i in range(p) for j in range(p) for c in range(channels)]
            if normalized:
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                values = [(v - mean) / math.sqrt(variance + 1e-6) for v in values]
            total += sum((a - v) ** 2 for a, v in zip(prediction[b, patch].tolist(), values)) / len(values)
            count += 1
    return total / count


@pytest.mark.parametrize("normalized", [True, False])
def test_the_loss_equals_its_definition(normalized):
    images, prediction = randn(3, 3, 8, 8), randn(3, 4, 48, seed=1)
    images[0, :, :4, :4] = 0.3  # constant: the 1e-6 under the root matters
    visible = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1]]).bool()
    visible[0, 0] = False
    got = float(mae_loss(prediction, images, visible, normalized))
    assert got == pytest.approx(naive_mae(prediction, images, visible, normalized), rel=1e-10)
    assert float(mae_loss(prediction, images, visible.view(3, 2, 2), normalized)) == got


def test_one_ratio_over_the_batch_not_a_mean_of_means():
    images, prediction = randn(2, 3, 8, 8), randn(2, 4, 48, seed=1)
    visible = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]]).bool()
    alone = [mae_loss(prediction[i : i + 1], images[i : i + 1], visible[i : i + 1]) for i in range(2)]
    got = mae_loss(prediction, images, visible)
    torch.testing.assert_close(got, (alone[0] + 4 * alone[1]) / 5)
    assert abs(float(got - (alone[0] + alone[1]) / 2)) > 1e-3


def test_gradients_of_the_loss():
    images, visible = randn(2, 3, 8, 8), torch.tensor([[1, 0, 0, 1], [0, 0, 0, 1]]).bool()
    prediction = randn(2, 4, 48, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: mae_loss(p, images, visible), prediction)
    mae_loss(prediction, images, visible).backward()
    assert (prediction.grad[visible] == 0).all() and (prediction.grad[~visible] != 0).all()


def test_the_loss_is_float32_under_autocast():
    images, visible = torch.randn(2, 3, 8, 8), torch.tensor([[1, 0, 0, 1], [0, 0, 0, 1]]).bool()
    prediction = torch.randn(2, 4, 48).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = mae_loss(prediction, images, visible)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, mae_loss(prediction.float(), images, visible))


# ---------------------------------------------------------------- the whole forward
def loop_block(x, block):
    y = F.layer_norm(x, x.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = F.linear(y, block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, -1)
    width, heads = x.shape[-1] // block.attn.heads, []
    for h in range(block.attn.heads):
        part = slice(h * width, (h + 1) * width)
        scores = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(width), -1)
        heads.append(scores @ v[:, part])
    x = x + F.linear(torch.cat(heads, -1), block.attn.proj.weight, block.attn.proj.bias)
    y = F.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
    y = F.linear(y, block.mlp[0].weight, block.mlp[0].bias)
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    return x + F.linear(y, block.mlp[2].weight, block.mlp[2].bias)


def loop_forward(method: MAE, image, visible, keep):
    """One image: embed the kept patches one by one, encode, put them into their places, decode."""
    vit, decoder = method.backbone, method.decoder
    table = sincos_positions(4, 24, dtype=torch.float64)
    tokens = [vit.class_token[0, 0] + table[0]]
    for patch in keep:
        top, left = patch // 4 * 4, patch % 4 * 4
        square = image[:, top : top + 4, left : left + 4].flatten()
        tokens.append(vit.patch_embed.weight.flatten(1) @ square + vit.patch_embed.bias + table[1 + patch])
    x = torch.stack(tokens)
    for block in vit.blocks:
        x = loop_block(x, block)
    latent = F.layer_norm(x, (24,), vit.norm.weight, vit.norm.bias, 1e-6)
    x = F.linear(latent, decoder.embed.weight, decoder.embed.bias)
    places = [x[0]] + [decoder.mask_token[0, 0]] * 16
    for number, patch in enumerate(keep):
        places[1 + patch] = x[1 + number]
    x = torch.stack(places) + sincos_positions(4, 16, dtype=torch.float64)
    for block in decoder.blocks:
        x = loop_block(x, block)
    x = F.layer_norm(x, (16,), decoder.norm.weight, decoder.norm.bias, 1e-6)
    return latent, F.linear(x, decoder.pred.weight, decoder.pred.bias)[1:]


@torch.no_grad()
def test_the_whole_forward_equals_loops():
    method, images = small_mae(depth=2), randn(2, 3, 16, 16)
    visible = masks(method)
    got = method.decode(images, visible)
    assert got.shape == (2, 16, 48) and got.dtype == torch.float64
    for number in range(2):
        keep = visible[number].flatten().nonzero()[:, 0].tolist()
        latent, wanted = loop_forward(method, images[number], visible[number], keep)
        torch.testing.assert_close(got[number], wanted, rtol=1e-9, atol=1e-10)
        shuffled = keep[::-1]  # the official code keeps the noise's order; the prediction does not depend on it
        latent, again = loop_forward(method, images[number], visible[number], shuffled)
        torch.testing.assert_close(again, wanted, rtol=1e-9, atol=1e-10)
        ours = method.backbone.tokens(images[number : number + 1], keep=torch.tensor([shuffled]))[0]
        torch.testing.assert_close(ours, latent, rtol=1e-9, atol=1e-10)
    with_images = (images + 1.8) / 4  # the loss normalises (x - 0.45) / 0.25 by itself
    loss = method.loss((with_images, visible))["loss"]
    assert float(loss) == pytest.approx(naive_mae(got, images, visible, True), rel=1e-8)


# official name (facebookresearch/mae, models_mae.py; timm's blocks) -> ours
OFFICIAL = {"decoder_blocks.": "decoder.blocks.", "decoder_embed.": "decoder.embed.", "decoder_norm.": "decoder.norm.",
            "decoder_pred.": "decoder.pred.", "mask_token": "decoder.mask_token",
                "patch_embed.proj.": "backbone.patch_embed.",
            "cls_token": "backbone.class_token", "blocks.": "backbone.blocks.", "norm.": "backbone.norm.",
            "fc1": "0", "fc2": "2"}


def translated(name: str) -> str:
    """An official MAE parameter's name in ours."""
    prefix = next((old for old in OFFICIAL if name.startswith(old)), "")
    name = OFFICIAL.get(prefix, "") + name.removeprefix(prefix)
    return name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")


def test_official_names_map_onto_ours():
    """The 50 tensors of the official model in the golden README: two are the fixed positions, the rest by shape."""
    official = {"cls_token": (1, 1, 24), "mask_token": (1, 1, 16), "patch_embed.proj.weight": (24, 3, 4, 4),
                "patch_embed.proj.bias": (24,), "decoder_embed.weight": (16, 24), "decoder_embed.bias": (16,),
                "decoder_pred.weight": (48, 16), "decoder_pred.bias": (48,)}
    for prefix, depth, d in (("", 2, 24), ("decoder_", 1, 16)):
        official |= {f"{prefix}norm.weight": (d,), f"{prefix}norm.bias": (d,)}
        for i in range(depth):
            b = f"{prefix}blocks.{i}."
            for name, shape in (("attn.qkv", (3 * d, d)), ("attn.proj", (d, d)), ("mlp.fc1", (4 * d, d)),
                                ("mlp.fc2", (d, 4 * d))):
                official |= {f"{b}{name}.weight": shape, f"{b}{name}.bias": shape[:1]}
            official |= {f"{b}norm{n}.{kind}": (d,) for n in (1, 2) for kind in ("weight", "bias")}
    assert len(official) == 48
    ours = {name: tuple(tensor.shape) for name, tensor in small_mae().state_dict().items()}
    assert {translated(name): shape for name, shape in official.items()} == ours


# ---------------------------------------------------------------- what the network may and may not see
@torch.no_grad()
def test_hidden_pixels_never_matter_and_the_encoder_sees_a_quarter():
    method, images = small_mae(), randn(2, 3, 16, 16)
    visible = masks(method)
    where = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(where, images, randn(2, 3, 16, 16, seed=9))
    assert torch.equal(method.decode(images, visible), method.decode(other, visible))
    lengths = []
    hook = method.backbone.blocks[0].register_forward_hook(lambda m, x, y: lengths.append(y.shape[1]))
    method.decode(images, visible)
    hook.remove()
    assert lengths == [1 + 4], "a class token and a quarter of sixteen patches"


@torch.no_grad()
def test_mask_tokens_know_where_they_are():
    """Bug: positions added before the unshuffle, or to encoded tokens only: all hidden patches would look alike."""
    method, images = small_mae(), randn(2, 3, 16, 16)
    visible = masks(method)
    drawn = method.decode(images, visible)
    hidden = drawn[0][~visible[0].flatten()]
    assert (hidden[0] - hidden[1:]).abs().amax(-1).min() > 1e-3


@torch.no_grad()
def test_visible_patches_carry_their_true_positions():
    """Bug: positions added after masking. The same pixels kept at another place must give other tokens."""
    vit = small_mae().backbone
    image = randn(1, 3, 4, 4).repeat(1, 1, 4, 4)  # all patches alike
    tokens = vit.tokens(image, keep=torch.tensor([[0, 5]]))
    others = vit.tokens(image, keep=torch.tensor([[3, 9]]))
    assert (tokens - others).abs().amax() > 1e-3


def test_an_encoder_on_all_tokens_is_the_papers_ablation():
    """drop=False: mask tokens inside the encoder; every parameter that is trained is used, nothing hidden is seen."""
    method, images = small_mae(drop=False), randn(2, 3, 16, 16)
    visible = masks(method)
    lengths = []
    method.backbone.blocks[0].register_forward_hook(lambda m, x, y: lengths.append(y.shape[1]))
    method.loss((images, visible))["loss"].backward()
    assert lengths == [17]
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    where = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(where, images, randn(2, 3, 16, 16, seed=9))
    torch.testing.assert_close(method.decode(images, visible), method.decode(other, visible))


# ---------------------------------------------------------------- the module
def test_views_hide_the_right_share_and_repeat_by_seed():
    method = build_method("mae", "vit-tiny", backbone_options={"dim": 24, "depth": 1, "heads": 3}, width=16, heads=2)
    batch = Batch(tiny.images(8, 32).images, torch.arange(8), None)
    images, visible = method.views(batch, torch.Generator().manual_seed(0))
    assert images.shape == (8, 3, 32, 32) and visible.shape == (8, 8, 8) and visible.dtype == torch.bool
    assert (visible.flatten(1).sum(1) == 16).all() and len({tuple(v) for v in visible.flatten(1).tolist()}) == 8
    again = method.views(batch, torch.Generator().manual_seed(0))
    assert torch.equal(images, again[0]) and torch.equal(visible, again[1])


@pytest.mark.parametrize("normalized", [True, False])
def test_a_reconstruction_keeps_what_is_visible(normalized):
    method = small_mae(normalized=normalized).float()
    images, visible = torch.rand(2, 3, 16, 16), masks(method)
    out = method.reconstruct(images, visible)
    where = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(images)
    assert out.shape == images.shape and 0 <= out.min() and out.max() <= 1
    torch.testing.assert_close(out[where], images[where])
    with torch.no_grad():
        patches = method.decode(standardize(images), visible)
    if not normalized:
        wanted = (unpatchify(patches, 4) * 0.25 + 0.45).clamp(0, 1)
        torch.testing.assert_close(out[~where], wanted[~where])


def test_patches_fold_back():
    images = randn(2, 3, 12, 12)
    assert torch.equal(unpatchify(patchify(images, 4), 4), images)
    assert torch.equal(patchify(images, 4)[0, 1, :6], images[0, :, 0, 4:6].T.flatten()), "channel fastest"


def test_every_parameter_learns_and_a_run_resumes(tmp_path):
    def method():
        torch.manual_seed(0)
        return build_method("mae", "vit-tiny", 16, backbone_options={"patch": 4, "dim": 24, "depth": 1, "heads": 3},
                            width=16, heads=2)

    whole, images = method(), tiny.images()
    start = tiny.state(whole)
    fit(whole, images, steps=4, **tiny.SMALL)
    moved = [name for name, tensor in tiny.state(whole).items() if not torch.equal(tensor, start[name])]
    assert len(moved) == len(start)
    stopped, out = method(), tmp_path / "run"
    fit(stopped, images, steps=4, out=out, watch=tiny.Stop(2), log_every=1, **tiny.SMALL)
    resumed = method()
    fit(resumed, images, steps=4, out=out, resume=True, **tiny.SMALL)
    assert tiny.same(tiny.state(whole), tiny.state(resumed))


def test_what_it_refuses():
    vit = ViT(16, patch=4, dim=24, depth=1, heads=3)
    method = small_mae()
    unequal = masks(method)
    unequal[0].fill_(True)
    for act, says in ((lambda: MAE(ConvNet(2), 32), "a ConvNet cannot; use a ViT"),
                      (lambda: MAE(vit, 32), "built for 16 pixels, the method for 32"),
                      (lambda: method.decode(randn(2, 3, 16, 16), unequal), "same number of visible patches")):
        with pytest.raises(ValueError, match=says):
            act()


def test_embeddings_are_the_plain_vits():
    method = small_mae().float()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(method.embed(images), method.backbone(standardize(images)))
    assert isinstance(method.backbone, nn.Module) and np.isfinite(method.embed(images).detach().numpy()).all()
