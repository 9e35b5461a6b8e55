"""The vision transformer: positions, attention, dropped and replaced patches, its options, sizes, initialisations."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.augment.masks import patch_mask, visible_indices
from course_lib.data.images import Splits
from course_lib.evaluate.features import reinitialise
from course_lib.methods import build_method
from course_lib.models.backbones import ConvNet, build_backbone
from course_lib.models.blocks import Attention, drop_path
from course_lib.models.positions import RelativeBias, relative_index, sincos_positions
from course_lib.models.teacher import EMA
from course_lib.models.vit import ViT, init_truncated, init_xavier
from course_lib.optim import layer_decay_groups
from course_lib.train.checkpoint import load_method, save_small
from course_lib.train.tuning import Classifier, fine_tune
from helpers import tiny
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def moved(module):
    """`module` in float64 with every parameter away from where it starts: no weight may stand at 0 or 1."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return module.double().eval()


def small_vit(**options):
    return moved(ViT(image_size=16, patch=4, dim=24, depth=3, heads=3, **options))


OPTIONS = {"plain": {}, "learned": {"positions": "learned"}, "none": {"positions": "none"},
           "shared": {"relative": "shared", "positions": "none"}, "layer": {"relative": "layer"},
           "beit": {"relative": "shared", "positions": "none", "layer_scale": 0.1, "key_bias": False, "pool": "mean"}}


# ---------------------------------------------------------------- positions
@pytest.mark.parametrize("grid, dim", [(2, 4), (3, 8), (8, 192)])
def test_positions_equal_a_table_written_with_loops(grid, dim):
    """As MAE: the first half of the channels for the column, the second for the row; sines before cosines."""
    table = sincos_positions(grid, dim)
    assert table.shape == (grid * grid + 1, dim) and table.dtype == torch.float32
    assert (table[0] == 0).all()
    quarter = dim // 4
    for row in range(grid):
        for column in range(grid):
            wanted = [f(place / 10000 ** (k / quarter)) for place in (column, row) for f in (math.sin, math.cos)
                      for k in range(quarter)]
            assert table[1 + row * grid + column].tolist() == pytest.approx(wanted, abs=1e-6)
    assert torch.equal(sincos_positions(grid, dim, class_token=False), table[1:])


def test_fixed_positions_are_not_in_the_state_dict_and_not_trained():
    vit = ViT(16, 4, 24, 1, 3)
    assert "positions" not in vit.state_dict() and not vit.positions.requires_grad
    vit(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in vit.parameters())


def test_a_net_in_float64_has_positions_in_float64():
    """A table rounded to float32 would show at 1e-8, and golden arrays are compared below that."""
    vit = ViT(16, 4, 24, 1, 3).double()
    table = vit._positions(4, torch.zeros(1, dtype=torch.float64))
    assert torch.equal(table, sincos_positions(4, 24, dtype=torch.float64))


# ---------------------------------------------------------------- the whole forward, once more
@pytest.mark.parametrize("name", OPTIONS)
def test_the_forward_equals_one_from_maps_and_loops(name):
    options = OPTIONS[name]
    vit, images = small_vit(**options), randn(2, 3, 16, 16)
    maps = vit.attention(images)
    assert maps.shape == (3, 2, 3, 17, 17) and (maps > 0).all()
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 3, 17, dtype=torch.float64))
    patches = F.conv2d(images, vit.patch_embed.weight, vit.patch_embed.bias, stride=4).flatten(2).mT
    x = torch.cat([vit.class_token.expand(2, -1, -1), patches], 1)
    if options.get("positions", "sincos") == "sincos":
        x = x + sincos_positions(4, 24, dtype=torch.float64)
    elif options["positions"] == "learned":
        x = x + vit.positions
    for layer, block in enumerate(vit.blocks):
        y = block.norm1(x)
        q, k, v = F.linear(y, block.attn.qkv.weight).split(24, dim=-1)
        if options.get("key_bias", True):
            q, k, v = (t + b for t, b in zip((q, k, v), block.attn.qkv.bias.split(24)))
        else:
            q, v = q + block.attn.q_bias, v + block.attn.v_bias
        relative = {"shared": vit.relative, "layer": block.attn.relative}.get(options.get("relative"))
        scores = []
        for h in range(3):
            logits = q[..., 8 * h : 8 * h + 8] @ k[..., 8 * h : 8 * h + 8].mT / math.sqrt(8)
            if relative is not None:
                logits = logits + relative.table[relative_index(4, 4), h]
            scores.append(logits.softmax(-1))
        torch.testing.assert_close(torch.stack(scores, 1), maps[layer])
        out = torch.cat([maps[layer][:, h] @ v[..., 8 * h : 8 * h + 8] for h in range(3)], -1)
        scale1, scale2 = (1, 1) if block.scale1 is None else (block.scale1, block.scale2)
        x = x + scale1 * F.linear(out, block.attn.proj.weight, block.attn.proj.bias)
        first, second = block.mlp[0], block.mlp[2]
        z = F.linear(F.gelu(F.linear(block.norm2(x), first.weight, first.bias)), second.weight, second.bias)
        x = x + scale2 * z
    x = F.layer_norm(x, (24,), vit.norm.weight, vit.norm.bias, 1e-6)
    torch.testing.assert_close(vit.tokens(images), x)
    torch.testing.assert_close(vit(images), x[:, 1:].mean(1) if options.get("pool") == "mean" else x[:, 0])


def test_attention_of_some_layers():
    vit, images = small_vit(), randn(2, 3, 16, 16)
    maps = vit.attention(images)
    torch.testing.assert_close(vit.attention(images, layers=[2, 0]), maps[[2, 0]])
    torch.testing.assert_close(vit.attention(images, layers=[-1]), maps[-1:])
    assert not maps.requires_grad


def test_attention_costs_nothing_when_not_asked_for(monkeypatch):
    monkeypatch.setattr(Attention, "weights", lambda *_: pytest.fail("maps were computed"))
    small_vit()(randn(2, 3, 16, 16))


@pytest.mark.parametrize("biased", [False, True])
def test_attention_in_bfloat16_is_that_in_float32(biased):
    attention, x = Attention(24, 3), torch.randn(2, 17, 24)
    bias = torch.randn(3, 17, 17) if biased else None

    def run(half: bool):
        attention.zero_grad()
        y = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = attention(y, bias)
        assert out.dtype == (torch.bfloat16 if half else torch.float32)
        out.float().square().sum().backward()
        return [out.float().detach(), y.grad, *(p.grad for p in attention.parameters())]

    for half, full in zip(run(True), run(False)):
        assert float((half - full).norm() / full.norm().clamp(min=1e-3)) < 0.03


# ---------------------------------------------------------------- dropped patches
def test_visible_tokens_equal_attention_restricted_to_them():
    vit, images = small_vit(), randn(3, 3, 16, 16)
    everything = torch.ones(3, 4, 4, dtype=torch.bool)
    torch.testing.assert_close(vit.tokens(images, everything), vit.tokens(images))
    visible = patch_mask(3, 4, 0.6, torch.Generator().manual_seed(0))
    got = vit.tokens(images, visible)
    assert got.shape == (3, 7, 24)
    keys = torch.cat([torch.ones(3, 1, dtype=torch.bool), visible.flatten(1)], 1)  # the full sequence, hidden keys shut
    x = vit._embed(images)
    for block in vit.blocks:
        q, k, v = block.attn.split(block.norm1(x))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, None, :])
        x = x + block.attn.proj(attended.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    wanted = torch.stack([row[flags] for row, flags in zip(vit.norm(x), keys)])  # reading order
    torch.testing.assert_close(got, wanted)


def test_kept_tokens_come_in_the_order_asked_for():
    vit, images = small_vit(positions="learned"), randn(2, 3, 16, 16)
    visible = patch_mask(2, 4, 0.6, torch.Generator().manual_seed(0))
    index = visible_indices(visible)
    assert index.shape == (2, 6)
    for row, flags in zip(index, visible.flatten(1)):
        assert row.tolist() == flags.nonzero()[:, 0].tolist()
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    inside = vit.tokens(images, visible)
    shuffled = vit.tokens(images, keep=index[:, order])
    torch.testing.assert_close(shuffled[:, 1:], inside[:, 1:][:, order])
    torch.testing.assert_close(shuffled[:, 0], inside[:, 0])


def test_hidden_patches_are_never_looked_at():
    vit, images = small_vit(), randn(2, 3, 16, 16)
    visible = patch_mask(2, 4, 0.5, torch.Generator().manual_seed(1))
    pixels = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(pixels, images, randn(2, 3, 16, 16, seed=9))
    assert torch.equal(vit.tokens(images, visible), vit.tokens(other, visible))
    token = randn(1, 1, 24)
    first = vit.tokens(images, visible, mask_token=token)
    torch.testing.assert_close(first, vit.tokens(other, visible, mask_token=token))
    assert first.shape == (2, 17, 24)


# ---------------------------------------------------------------- replaced patches
@pytest.mark.parametrize("positions", ["sincos", "learned", "none"])
def test_the_mask_token_replaces_the_embedding_before_positions(positions):
    """Bug: the token replaces embedding and position, and every hidden patch then looks alike to the network."""
    vit, images = small_vit(positions=positions), randn(2, 3, 16, 16)
    visible, token = randn(2, 4, 4, seed=3) <= 0, randn(1, 1, 24, seed=4)
    got = vit._embed(images, visible, mask_token=token)
    plain = vit._embed(images)
    table = torch.zeros(17, 24, dtype=torch.float64)
    if positions == "sincos":
        table = sincos_positions(4, 24, dtype=torch.float64)
    elif positions == "learned":
        table = vit.positions
    for image in range(2):
        for patch, is_visible in enumerate(visible[image].flatten().tolist(), 1):
            wanted = plain[image, patch] if is_visible else token[0, 0] + table[patch]
            torch.testing.assert_close(got[image, patch], wanted)
        torch.testing.assert_close(got[image, 0], vit.class_token[0, 0] + table[0])


def test_nothing_hidden_is_the_plain_net():
    vit, images = small_vit(**OPTIONS["beit"]), randn(2, 3, 16, 16)
    everything = torch.ones(2, 4, 4, dtype=torch.bool)
    torch.testing.assert_close(vit.tokens(images, everything, mask_token=randn(1, 1, 24)), vit.tokens(images))


# ---------------------------------------------------------------- relative bias, sizes, refusals
@pytest.mark.parametrize("height, width", [(2, 3), (3, 2), (4, 4)])
def test_the_relative_index_equals_one_written_with_loops(height, width):
    index = relative_index(height, width)
    rows = (2 * height - 1) * (2 * width - 1)
    for i in range(height * width):
        for j in range(height * width):
            down, right = i // width - j // width, i % width - j % width  # query minus key
            assert index[1 + i, 1 + j] == (down + height - 1) * (2 * width - 1) + right + width - 1
        assert index[0, 1 + i] == rows and index[1 + i, 0] == rows + 1
    assert index[0, 0] == rows + 2 and index.max() == rows + 2
    bias = RelativeBias((height, width), 2)
    assert bias.table.shape == (rows + 3, 2) and (bias.table == 0).all() and "index" not in bias.state_dict()


def test_a_bias_of_the_keys_changes_nothing():
    """Why BEiT leaves it out: it adds the same number to a query's logits, and softmax does not see it."""
    attention = moved(Attention(24, 3))
    x = randn(2, 7, 24)
    before = attention(x)
    with torch.no_grad():
        attention.qkv.bias[24:48] += 3 * randn(24)
    torch.testing.assert_close(attention(x), before)


@pytest.mark.parametrize("name", ["plain", "learned", "none"])
def test_other_sizes(name):
    vit = small_vit(**OPTIONS[name])
    images = randn(2, 3, 24, 24)
    tokens = vit.tokens(images)
    assert tokens.shape == (2, 37, 24) and vit.attention(images).shape == (3, 2, 3, 37, 37)
    table = vit._positions(6, images)
    if name == "plain":
        assert torch.equal(table, sincos_positions(6, 24, dtype=torch.float64))
    if name == "learned":
        assert table.shape == (37, 24) and torch.equal(table[0], vit.positions[0])
        with torch.no_grad():  # a plane stays one, but for the border
            y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
            vit.positions[1:] = (y + 10 * x).flatten()[:, None].double()
        square = vit._positions(6, images)[1:, 0].detach().view(6, 6)
        assert float(square[3, 3] - square[2, 3]) == pytest.approx(4 / 6, rel=0.2)
        assert float(square[3, 3] - square[3, 2]) == pytest.approx(10 * 4 / 6, rel=0.2)


def test_what_it_refuses():
    vit, images = small_vit(), randn(2, 3, 16, 16)
    unequal = torch.ones(2, 4, 4, dtype=torch.bool)
    unequal[0, 0, 0] = False
    shared = small_vit(relative="shared")
    token = torch.zeros(1, 1, 24, dtype=torch.float64)
    for act, says in ((lambda: ViT(30, 4), "not a multiple of the patch 4"), (lambda: ViT(dim=100, heads=3), "heads 3"),
                      (lambda: ViT(positions="rope"), "positions must be one of"),
                      (lambda: ViT(relative="both"), "relative must be one of"), (lambda: ViT(pool="max"), "pool must "
                                                                                                           "be"),
                      (lambda: sincos_positions(4, 6), "multiple of 4"),
                      (lambda: vit.tokens(images, unequal), "same number of visible patches"),
                      (lambda: vit.tokens(images, torch.zeros_like(unequal)), "no patch is visible"),
                      (lambda: vit.tokens(images, mask_token=token), "needs visible="),
                      (lambda: vit.tokens(images, torch.ones(2, 8, 8).bool()), r"visible has shape \(2, 8, 8\); exp"),
                      (lambda: vit.tokens(images, unequal[1:]), r"expected \(2, 4, 4\)"),
                      (lambda: vit.tokens(images, unequal[1:], mask_token=token), r"expected \(2, 4, 4\)"),
                      (lambda: vit.tokens(images, keep=torch.zeros(2, 1).long(), mask_token=token), "not both"),
                      (lambda: vit.tokens(images, ~unequal | True, keep=torch.zeros(2, 1).long()), "not both"),
                      (lambda: shared.tokens(images, torch.ones_like(unequal)), "needs all patches"),
                      (lambda: shared(randn(2, 3, 24, 24)), "must have 16 pixels"),
                      (lambda: vit(randn(2, 3, 16, 20)), "must be square"),
                      (lambda: vit(randn(2, 3, 18, 18)), "multiple of the patch")):
        with pytest.raises(ValueError, match=says):
            act()


# ---------------------------------------------------------------- initialisation
@torch.no_grad()
def test_maes_initialisation_treats_the_patch_projection_as_a_linear_layer():
    vit = init_xavier(ViT(32, 4, 96, 2, 3))
    for weight in (vit.patch_embed.weight, vit.blocks[0].attn.qkv.weight, vit.blocks[1].mlp[2].weight):
        out, fan_in = weight.flatten(1).shape
        bound = math.sqrt(6 / (out + fan_in))
        assert 0.95 * bound < weight.abs().max() <= bound, "uniform up to Xavier's bound, no further"
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert 0.01 < vit.class_token.std() < 0.03
    assert all((p == 0).all() for n, p in vit.named_parameters() if n.endswith("bias"))


@torch.no_grad()
def test_truncated_initialisation():
    """Cut at one deviation, 0.02 becomes 0.0108; the branches' last layers shrink with depth."""
    vit = init_truncated(ViT(32, 4, 96, 3, 3, positions="learned", key_bias=False, relative="shared"))
    for tensor in (vit.patch_embed.weight, vit.positions, vit.blocks[0].attn.qkv.weight, vit.blocks[2].mlp[0].weight):
        assert float(tensor.std()) == pytest.approx(0.0108, rel=0.03) and tensor.abs().max() <= 0.02
    for number, block in enumerate(vit.blocks, 1):
        for layer in (block.attn.proj, block.mlp[2]):
            assert float(layer.weight.std()) == pytest.approx(0.0108 / math.sqrt(2 * number), rel=0.03)
    assert (vit.relative.table == 0).all()
    dino = init_truncated(ViT(32, 4, 96, 3, 3), cut=2.0, rescale=False)
    assert float(dino.blocks[2].mlp[2].weight.std()) == pytest.approx(0.02, rel=0.03)


@torch.no_grad()
def test_a_random_encoder_of_the_same_shape_can_be_made():
    """The control of every table: fresh weights, and the parts that start at a constant start there again."""
    vit = small_vit(**OPTIONS["beit"]).float()
    fresh = reinitialise(vit, 1)
    assert (fresh.relative.table == 0).all() and (fresh.blocks[2].scale1 == 0.1).all()
    assert (fresh.blocks[0].attn.q_bias == 0).all()
    same = [name for name, p in fresh.named_parameters() if torch.equal(p, dict(vit.named_parameters())[name])]
    assert not same and fresh(torch.randn(2, 3, 16, 16)).isfinite().all()


def test_fine_tuning_with_layer_decay():
    vit, images = ViT(16, 4, 24, 2, 3), tiny.images(60)
    parts = [images.select(torch.arange(n, n + 20)) for n in (0, 20, 40)]
    splits = Splits(*parts)
    torch.manual_seed(0)
    result = fine_tune(vit, splits, epochs=1, batch_size=10, layer_decay=0.1, lr=1e-2, device="cpu")
    tuned = result.model[0]
    moved = {name: float((p - dict(vit.named_parameters())[name]).abs().max().detach()) for name,
             p in tuned.named_parameters()}
    assert moved["patch_embed.weight"] < 0.3 * moved["blocks.0.mlp.0.weight"] < 0.1 * moved["blocks.1.mlp.0.weight"]
    with pytest.raises(ValueError, match="needs a ViT"):
        fine_tune(build_backbone("convnet"), splits, epochs=1, batch_size=10, layer_decay=0.5, device="cpu")


# ---------------------------------------------------------------- a stem of convolutions
def stemmed(patch=4, widths=(6, 8), **options):
    torch.manual_seed(0)
    return build_backbone("vit-tiny", 16, patch=patch, dim=24, depth=2, heads=3, stem=widths, **options).double().eval()


@pytest.mark.parametrize("patch, widths", [(4, (6, 8)), (4, (6,)), (8, (6, 8, 10))])
def test_patches_are_cut_from_the_stems_last_map(patch, widths):
    vit, images = stemmed(patch, widths), randn(2, 3, 16, 16)
    maps = ConvNet.stages(vit.stem, images)[-1]
    grid, cut = 16 // patch, patch // 2 ** len(widths)
    x = vit._embed(images)
    assert x.shape == (2, 1 + grid**2, 24)
    table = sincos_positions(grid, 24, dtype=torch.float64)
    for row in range(grid):
        for column in range(grid):
            piece = maps[:, :, row * cut : (row + 1) * cut, column * cut : (column + 1) * cut].flatten(1)
            wanted = piece @ vit.patch_embed.weight.flatten(1).T + vit.patch_embed.bias + table[1 + row * grid + column]
            torch.testing.assert_close(x[:, 1 + row * grid + column], wanted)
    assert stemmed(patch, widths).tokens(randn(2, 3, 32, 32)).shape == (2, 1 + (32 // patch) ** 2, 24)


def test_a_stem_does_not_tell_what_hidden_patches_show():
    """Bug: convolutions overlap, so a mask token behind them hides nothing: the neighbours have seen the patch."""
    vit, images = stemmed(), randn(2, 3, 16, 16)
    visible, token = ~patch_mask(2, 4, 0.5, torch.Generator().manual_seed(1)), randn(1, 1, 24)
    pixels = ~visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(pixels, randn(2, 3, 16, 16, seed=9), images)
    assert not torch.allclose(vit._embed(images), vit._embed(other))
    torch.testing.assert_close(vit.tokens(images, visible, mask_token=token),
                               vit.tokens(other, visible, mask_token=token), rtol=0, atol=0)
    dropped = [vit.tokens(pictures, visible) for pictures in (images, other)]
    torch.testing.assert_close(*dropped, rtol=0, atol=0)
    assert dropped[0].shape[1] == 1 + int(visible[0].sum())


def test_a_stem_that_does_not_fit_the_patch():
    with pytest.raises(ValueError, match="cells have 8 pixels: the patch must be a multiple of that, got 4"):
        stemmed(4, (6, 8, 10))


def test_a_method_over_a_stem_is_built_again_from_its_settings(tmp_path):
    torch.manual_seed(0)
    options = dict(patch=4, dim=24, depth=1, heads=3, stem=(6, 8))
    method = build_method("dino", "vit-tiny", 16, backbone_options=options, out=8, hidden=8, bottleneck=4)
    assert method.settings["backbone_options"]["stem"] == (6, 8), "the settings are as they were given"
    again = load_method(save_small(tmp_path / "small.pt", method))
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(again.eval().embed(images), method.eval().embed(images), rtol=0.02, atol=0.02)


def test_a_stem_moves_with_the_patch_embedding_when_layers_decay():
    vit = stemmed()
    scales = {id(p): group["lr_scale"] for group in layer_decay_groups(vit, 0.1, 0.5) for p in group["params"]}
    assert {scales[id(p)] for p in [*vit.stem.parameters(), *vit.patch_embed.parameters()]} == {0.5**3}
    assert scales[id(vit.blocks[1].mlp[0].weight)] == 0.5 and len(scales) == len(list(vit.parameters()))


# ---------------------------------------------------------------- stochastic depth
def test_paths_are_dropped_more_often_deeper_and_only_in_training():
    vit = ViT(16, patch=4, dim=24, depth=3, heads=3, drop_path=0.4)
    assert [block.drop_path for block in vit.blocks] == pytest.approx([0.0, 0.2, 0.4])
    images = torch.rand(64, 3, 16, 16)
    plain = ViT(16, patch=4, dim=24, depth=3, heads=3)
    plain.load_state_dict(vit.state_dict())
    assert torch.equal(vit.eval()(images), plain(images)), "in evaluation mode nothing is dropped"
    assert not torch.equal(vit.train()(images), plain(images))
    assert not any(block.drop_path for block in EMA(vit).module.blocks), "a teacher drops none"
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="drop_path is the share"):
            ViT(16, patch=4, dim=24, depth=2, heads=3, drop_path=rate)


def test_a_dropped_branch_is_missing_for_whole_images_and_right_on_average():
    torch.manual_seed(0)
    y = drop_path(torch.ones(20000, 2, 3), 0.25)
    assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)} and (y == y[:, :1, :1]).all()
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)


# ---------------------------------------------------------------- positions and groups as in the official code
def test_learned_positions_are_resized_as_in_dino():
    """vision_transformer.py, interpolate_pos_encoding: by scale_factor, with 0.1 added to the grid; not by size=."""
    vit = ViT(16, patch=4, dim=8, depth=1, heads=2, positions="learned")
    table = vit.positions.detach()
    square = table[1:].view(1, 4, 4, 8).permute(0, 3, 1, 2)
    for grid in (2, 3, 6):
        resized = torch.nn.functional.interpolate(square, scale_factor=((grid + 0.1) / 4,) * 2, mode="bicubic")
        wanted = torch.cat([table[:1], resized.permute(0, 2, 3, 1).reshape(-1, 8)])
        torch.testing.assert_close(vit._positions(grid, table), wanted)


@pytest.mark.parametrize("relative, scale", [("shared", {1.0}), ("layer", {0.5, 0.25})])
def test_a_position_bias_that_all_blocks_share_learns_as_fast_as_the_head(relative, scale):
    vit = ViT(16, patch=4, dim=24, depth=2, heads=3, positions="none", relative=relative)
    groups = layer_decay_groups(vit, 0.1, 0.5)
    mine = [group for group in groups for p in group["params"]
            if any(p is q for name, q in vit.named_parameters() if name.endswith("relative.table"))]
    assert {group["lr_scale"] for group in mine} == scale and {group["weight_decay"] for group in mine} == {0.1}


def test_fine_tuning_may_drop_paths():
    """0.1 in the papers of MAE, SimMIM and BEiT; 0 here, unless asked for."""
    for rate, wanted in ((0.0, [0.0, 0.0]), (0.1, [0.0, 0.1])):
        vit = ViT(16, patch=4, dim=24, depth=2, heads=3)
        Classifier(vit, torch.nn.Linear(24, 3), drop_path=rate)
        assert [block.drop_path for block in vit.blocks] == wanted
    with pytest.raises(ValueError, match="a ConvNet has none"):
        Classifier(ConvNet(), torch.nn.Linear(128, 3), drop_path=0.1)
