"""SparK's forward, position by position, against loops; sparse layers beyond the golden arrays; what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.augment.masks import enlarge
from course_lib.methods.masked.spark import LightDecoder, SparK, spark_loss, sparse
from course_lib.models import batch_norm
from course_lib.models.backbones import ConvNet, build_backbone
from course_lib.models.patches import normalize_patches
from helpers.draws import randn, visible_grid
from helpers.naive import naive_spark


# ---------------------------------------------------------------- SparK's forward, position by position
def loop_conv(x, weight, bias, stride, padding):
    b, c, h, w = x.shape
    d, k = weight.shape[0], weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((b, d, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1))
    for y in range(out.shape[2]):
        for z in range(out.shape[3]):
            window = padded[:, :, y * stride : y * stride + k, z * stride : z * stride + k]
            out[:, :, y, z] = np.einsum("bcij,dcij->bd", window, weight) + (0 if bias is None else bias)
    return out


def loop_norm(x, weight, bias, active, eps=1e-5):
    """Batch norm over the positions where `active`, (B, H, W), is true; the others become 0."""
    out = np.zeros_like(x)
    for channel in range(x.shape[1]):
        values = [x[b, channel, y, z] for b, y, z in zip(*np.nonzero(active))]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for b, y, z in zip(*np.nonzero(active)):
            value = (x[b, channel, y, z] - mean) / math.sqrt(variance + eps)
            out[b, channel, y, z] = value * weight[channel] + bias[channel]
    return out


def loop_up(x, weight, bias):
    """Transposed convolution 4x4, stride 2, padding 1: each input position adds a 4x4 stamp."""
    b, c, h, w = x.shape
    out = np.zeros((b, weight.shape[1], 2 * h + 2, 2 * w + 2))
    for y in range(h):
        for z in range(w):
            out[:, :, 2 * y : 2 * y + 4, 2 * z : 2 * z + 4] += np.einsum("bc,cdij->bdij", x[:, :, y, z], weight)
    return out[:, :, 1:-1, 1:-1] + bias[None, :, None, None]


class ThreeStages(nn.Module):
    """The net of the golden arrays' README: three 3x3 convolutions of stride 2, each with batch norm and ReLU."""

    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.c2, self.b2 = nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.c3, self.b3 = nn.Conv2d(8, 10, 3, 2, 1, bias=False), nn.BatchNorm2d(10)
        self.widths, self.strides, self.dim = (6, 8, 10), (2, 4, 8), 10

    def stages(self, x):
        first = self.b1(self.c1(x)).relu()
        second = self.b2(self.c2(first)).relu()
        return [first, second, self.b3(self.c3(second)).relu()]

    def forward(self, x):
        return self.stages(x)[-1].mean((2, 3))


def three_stage_spark():
    torch.manual_seed(0)
    method = SparK(ThreeStages(), image_size=32, width=16).double()
    with torch.no_grad():
        for p in method.parameters():  # no weight may stand at 0 or 1, where its absence would not show
            p.add_(0.1 * torch.randn_like(p))
    return method


def loop_forward(method: SparK, images: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """SparK's definition: mask the image, sparse encoder, densify from the smallest map up, decoder."""
    w = {name: tensor.detach().numpy() for name, tensor in method.state_dict().items()}

    def at(size):
        return visible.repeat(size // visible.shape[1], 1).repeat(size // visible.shape[2], 2)

    x, maps = images * at(32)[:, None], []
    for i in (1, 2, 3):
        x = loop_conv(x, w[f"backbone.c{i}.weight"], w.get(f"backbone.c{i}.bias"), 2, 1)
        active = at(x.shape[-1])
        x = loop_norm(x * active[:, None], w[f"backbone.b{i}.weight"], w[f"backbone.b{i}.bias"], active)
        x = np.maximum(x, 0)
        maps.append(x)
    y = 0.0
    for i, x in enumerate(reversed(maps)):  # smallest first
        active = at(x.shape[-1])
        x = loop_norm(x, w[f"densify_norms.{i}.weight"], w[f"densify_norms.{i}.bias"], active)
        x = np.where(active[:, None], x, w[f"mask_tokens.{i}"])
        x = loop_conv(x, w[f"densify_projs.{i}.weight"], w[f"densify_projs.{i}.bias"], 1, 0 if i == 0 else 1)
        y = loop_up(y + x, w[f"dense_decoder.dec.{i}.up_sample.weight"], w[f"dense_decoder.dec.{i}.up_sample.bias"])
        everywhere = np.ones((y.shape[0], *y.shape[2:]), bool)
        for conv, norm in ((0, 1), (3, 4)):
            prefix = f"dense_decoder.dec.{i}.conv"
            y = loop_conv(y, w[f"{prefix}.{conv}.weight"], None, 1, 1)
            y = loop_norm(y, w[f"{prefix}.{norm}.weight"], w[f"{prefix}.{norm}.bias"], everywhere)
            if norm == 1:
                y = np.clip(y, 0, 6)
    return loop_conv(y, w["dense_decoder.proj.weight"], w["dense_decoder.proj.bias"], 1, 0)


def test_sparks_whole_forward_equals_loops():
    method = three_stage_spark()
    images = randn(2, 3, 32, 32)
    visible = randn(2, 16, seed=3).argsort(1).argsort(1).view(2, 4, 4) < 6
    wanted = loop_forward(method, images.numpy(), visible.numpy())
    got = method.decode(images, visible)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.from_numpy(wanted), rtol=1e-8, atol=1e-9)
    running = method.backbone.b1.running_mean.clone()
    loss = method.loss(((images + 1.8) / 4, visible))["loss"]  # the loss normalises (x - 0.45) / 0.25 by itself
    assert float(loss) == pytest.approx(naive_spark(wanted, images.numpy(), visible.numpy(), True), rel=1e-8)
    assert not torch.equal(running, method.backbone.b1.running_mean)


# official name (keyu-tian/SparK, pretrain/spark.py) -> ours: the encoder's prefix, the rest is alike
OFFICIAL = {"sparse_encoder.sp_cnn.": "backbone."}


def test_official_names_map_onto_ours():
    """The 87 tensors of the official SparK over the three-stage net, by name and shape."""
    norm = {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0, "num_batches_tracked": None}
    official: dict[str, tuple] = {}

    def add_norm(name, width):
        official.update({f"{name}.{k}": () if v is None else (width,) for k, v in norm.items()})

    for i, (a, b) in enumerate([(3, 6), (6, 8), (8, 10)], 1):
        official[f"sparse_encoder.sp_cnn.c{i}.weight"] = (b, a, 3, 3)
        add_norm(f"sparse_encoder.sp_cnn.b{i}", b)
    official["sparse_encoder.sp_cnn.c2.bias"] = (8,)
    for i, (e, d, k) in enumerate([(10, 16, 1), (8, 8, 3), (6, 4, 3)]):  # from the smallest map up
        official[f"mask_tokens.{i}"] = (1, e, 1, 1)
        add_norm(f"densify_norms.{i}", e)
        official |= {f"densify_projs.{i}.weight": (d, e, k, k), f"densify_projs.{i}.bias": (d,)}
        block = f"dense_decoder.dec.{i}"
        official |= {f"{block}.up_sample.weight": (d, d, 4, 4), f"{block}.up_sample.bias": (d,),
                     f"{block}.conv.0.weight": (d, d, 3, 3), f"{block}.conv.3.weight": (d // 2, d, 3, 3)}
        add_norm(f"{block}.conv.1", d), add_norm(f"{block}.conv.4", d // 2)
    official |= {"dense_decoder.proj.weight": (3, 2, 1, 1), "dense_decoder.proj.bias": (3,)}
    assert len(official) == 87
    ours = {name: tuple(tensor.shape) for name, tensor in three_stage_spark().state_dict().items()}
    for theirs, mine in OFFICIAL.items():
        official = {name.replace(theirs, mine): shape for name, shape in official.items()}
    assert official == ours


# ---------------------------------------------------------------- sparse layers beyond the golden arrays


class ConvNeXtBlock(nn.Module):
    """ConvNeXt's block: depthwise convolution, layer norm, two linear layers on the map, a scale, the input added."""

    def __init__(self, dim: int):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 3, 1, 1, groups=dim), nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(0.1 * torch.ones(dim))

    def forward(self, x):
        y = self.pwconv2(self.act(self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


def test_a_convnext_block_computes_on_visible_positions_alone():
    """The official SparseConvNeXtBlock, by its definition: only linear layers' biases would leak, and must not."""
    torch.manual_seed(0)
    block = ConvNeXtBlock(8).double()  # 8 channels on an 8x8 map: nothing to tell the axes apart by size
    x, visible = randn(2, 8, 8, 8), visible_grid()
    a = enlarge(visible, 8)
    x = x * a
    with sparse(block, visible):
        got = block(x)
    assert (got * ~a).abs().max() == 0
    y = block.norm((block.dwconv(x)).permute(0, 2, 3, 1))
    y = block.gamma * block.pwconv2(block.act(block.pwconv1(y)))
    torch.testing.assert_close(got, x + y.permute(0, 3, 1, 2) * a)
    moved = block(x)
    assert (moved * ~a).abs().max() > 0, "dense again after the context"


def test_a_channels_first_layer_norm_is_masked_by_rows_and_columns():
    from torchvision.models.convnext import LayerNorm2d

    norm, visible = LayerNorm2d(8).double(), visible_grid()
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    x = randn(2, 8, 8, 8)
    with sparse(nn.Sequential(norm), visible):
        got = norm(x)
    torch.testing.assert_close(got, norm(x) * enlarge(visible, 8))


@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.AdaptiveAvgPool2d(1),
                                   nn.BatchNorm2d(4)])
def test_layers_that_would_mix_are_refused(layer):
    net = nn.Sequential(layer)
    with pytest.raises(ValueError, match=f"{type(layer).__name__} mixes visible and hidden"):
        with sparse(net, visible_grid()):
            net(torch.ones(2, 4, 8, 8))
    net(torch.ones(2, 4, 8, 8))  # the hooks are gone, after an error too


def test_nothing_of_the_mask_stays_behind():
    backbone = batch_norm.convert_batch_norm(ConvNet(2, (4, 6)))
    x, visible = torch.rand(2, 3, 16, 16), visible_grid()
    backbone.eval()
    before = backbone(x)
    with sparse(backbone, visible):
        inside = backbone(x)
    assert torch.equal(before, backbone(x)) and not torch.equal(before, inside)
    assert all(module.visible is None for module in backbone.modules() if hasattr(module, "visible"))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.modules())
    with pytest.raises(RuntimeError):
        with sparse(backbone, visible):
            backbone(torch.rand(2, 5, 16, 16))
    assert torch.equal(before, backbone(x))


@pytest.mark.parametrize("name, options", [("convnet", {"depth": 3}), ("resnet18", {})])
def test_hidden_pixels_never_matter(name, options):
    """Bug: no mask after each convolution. The visible share stays what it was, at every depth."""
    torch.manual_seed(0)
    method = SparK(build_backbone(name, 32, **options), 32, width=16)
    images, visible = torch.rand(2, 3, 32, 32), visible_grid()[:, 0]
    where = enlarge(visible.unsqueeze(1), 32)
    out = method.decode(images, visible)
    other = method.decode(torch.where(where, images, torch.rand(2, 3, 32, 32)), visible)
    torch.testing.assert_close(out, other)
    with sparse(method.backbone, visible.unsqueeze(1)):
        maps = method.backbone.stages(images * where)
    for x in maps:
        hidden = ~enlarge(visible.unsqueeze(1), x.shape[-1]).expand_as(x)
        assert (x[hidden] == 0).all() and (x[~hidden] != 0).float().mean() > 0.2


@pytest.mark.parametrize("size", [32, 64, 96])
def test_spark_draws_images_of_the_right_size_over_a_resnet(size):
    """Over 64 pixels the stem divides by 4: the decoder then has a block more than the encoder has stages."""
    torch.manual_seed(0)
    method = SparK(build_backbone("resnet18", size), size, width=32)
    grid = size // method.patch
    visible = torch.zeros(2, grid, grid, dtype=torch.bool)
    visible[:, 0] = True
    images = torch.rand(2, 3, size, size)
    method.loss((images, visible))["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())
    out = method.reconstruct(images, visible)
    assert out.shape == images.shape and 0 <= out.min() and out.max() <= 1
    where = enlarge(visible.unsqueeze(1), size).expand_as(images)
    torch.testing.assert_close(out[where], images[where])


def test_spark_refuses_what_it_cannot_do():
    class Odd(ThreeStages):
        def __init__(self):
            super().__init__()
            self.strides = (2, 8, 16)

    for build, says in ((lambda: SparK(build_backbone("vit-tiny"), 32), "SparK needs feature maps, ViT has none"),
                        (lambda: SparK(ConvNet(3), 36), "not a multiple of the encoder's stride 8"),
                        (lambda: SparK(ConvNet(3), 32, densify_norm="ln"), "densify_norm"),
                        (lambda: SparK(ConvNet(3), 32, width=4), "cannot be halved"),
                        (lambda: SparK(Odd(), 32), "each halve the resolution")):
        with pytest.raises(ValueError, match=says):
            build()


def test_the_decoder_takes_fewer_maps_than_it_has_blocks():
    torch.manual_seed(0)
    decoder = LightDecoder(8, 16).eval()
    maps = [torch.rand(2, 16, 4, 4), torch.rand(2, 8, 8, 8)]
    torch.testing.assert_close(decoder(maps), decoder([*maps, None]))


def test_a_pretrained_encoder_is_the_plain_dense_network():
    """Its weights load into a network that has never heard of SparK, and give the same features."""
    torch.manual_seed(0)
    method = SparK(ThreeStages(), 32, width=16).eval()
    dense = ThreeStages().eval()
    dense.load_state_dict(method.backbone.state_dict())
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(dense((images - 0.45) / 0.25), method.embed(images))


# ---------------------------------------------------------------- the loss
def some_images(b=3, size=8, grid=4):
    visible = randn(b, grid, grid, seed=2) > torch.tensor([-1.0, 0.0, 1.0])[:b, None, None]  # unequal counts
    return randn(b, 3, size, size), randn(b, 3, size, size, seed=1), visible


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("size, grid", [(8, 4), (8, 2), (12, 3)])
def test_spark_loss_equals_its_definition(normalized, size, grid):
    prediction, images, visible = some_images(size=size, grid=grid)
    images[0, :, : size // grid, : size // grid] = 0.7  # a constant patch: its deviation is 0
    visible[0, 0, 0] = False
    wanted = naive_spark(prediction.numpy(), images.numpy(), visible.numpy(), normalized)
    assert float(spark_loss(prediction, images, visible, normalized)) == pytest.approx(wanted, rel=1e-9)
    assert float(spark_loss(prediction, images, visible.unsqueeze(1), normalized)) == pytest.approx(wanted, rel=1e-9)


def test_spark_loss_gradients():
    prediction, images, visible = some_images(2, 4, 2)
    visible[:, 0, 0] = False
    assert torch.autograd.gradcheck(lambda x: spark_loss(x, images, visible), prediction.requires_grad_())


def test_spark_loss_is_one_mean_over_the_hidden_patches_of_the_batch():
    """Bug: the mean of per-image means. Bug: the loss on visible patches."""
    prediction, images, visible = some_images()
    each = [spark_loss(p[None], i[None], v[None]) for p, i, v in zip(prediction, images, visible)]
    hidden = (~visible).sum((1, 2)).double()
    wanted = (torch.stack(each) * hidden).sum() / hidden.sum()
    torch.testing.assert_close(spark_loss(prediction, images, visible), wanted)
    assert len(set(hidden.tolist())) > 1
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(spark_loss(prediction[order], images[order], visible[order]),
                               spark_loss(prediction, images, visible))
    where = enlarge(visible.unsqueeze(1), 8)
    other = torch.where(where, randn(3, 3, 8, 8, seed=9), prediction)
    torch.testing.assert_close(spark_loss(other, images, visible), spark_loss(prediction, images, visible))


def test_spark_targets_ignore_a_patchs_brightness_and_contrast():
    prediction, images, visible = some_images()
    wanted = spark_loss(prediction, images, visible)
    torch.testing.assert_close(spark_loss(prediction, images * 5 + 3, visible), wanted, rtol=1e-4, atol=0)
    plain = spark_loss(prediction, images, visible, normalized=False)
    assert not torch.isclose(spark_loss(prediction, images * 5 + 3, visible, normalized=False), plain)


def test_target_patches_have_the_unbiased_deviation():
    """Bug: the biased variance in the target."""
    patches, mean, std = normalize_patches(randn(2, 4, 12))
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 4, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(patches * std + mean, randn(2, 4, 12))


# ---------------------------------------------------------------- as in the official code
def test_the_decoder_starts_as_the_official_one():
    """decoder.py: convolutions from a normal of 0.02, deconvolutions by He's rule, biases 0."""
    torch.manual_seed(0)
    block = LightDecoder(4, 64).dec[0]
    assert float(block.conv[0].weight.std()) == pytest.approx(0.02, rel=0.03)
    fan_out = 64 * 16
    assert float(block.up_sample.weight.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
    assert not block.up_sample.bias.any()


def test_mask_tokens_do_not_decay_and_gradients_are_clipped_at_five():
    method = SparK(ConvNet(2, (4, 6)), 16, width=8)
    decay = {id(p): group["weight_decay"] for group in method.param_groups(0.1) for p in group["params"]}
    assert {decay[id(p)] for p in method.mask_tokens} == {0.0} and len(decay) == len(list(method.parameters()))
    assert decay[id(method.backbone.blocks[0][0].weight)] == 0.1 and SparK.recipe["clip"] == 5.0


@pytest.mark.parametrize("mask_ratio", [-0.1, 0.0, 0.02, 1.0])
def test_a_share_that_hides_nothing_or_all_is_refused(mask_ratio):
    with pytest.raises(ValueError, match="at least one hidden and one visible"):
        SparK(ConvNet(2, (4, 6)), 16, mask_ratio=mask_ratio)
