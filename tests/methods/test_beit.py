"""BEiT: block masks, tokenizers, the loss in plain Python, and the bugs that people shipped with it."""

from __future__ import annotations

import math
import random

import pytest
import torch

from course_lib.augment.masks import add_block, block_mask, hide_blocks
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.masked.beit import BEIT_VIT, BEiT, beit_loss
from course_lib.methods.masked.tokenizers import VQVAE, KMeansTokenizer, kmeans, perplexity, vq_loss, word_counts
from course_lib.models.vit import ViT
from course_lib.train.loop import fit
from helpers.draws import generator, randn
from helpers.tiny import SMALL, Stop, images, same, state

TINY = {"patch": 4, "dim": 12, "depth": 2, "heads": 3, **BEIT_VIT}


def beit(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("beit", "vit-tiny", 16, backbone_options=TINY, **{"codes": 7, **options})


def prepared(**options) -> BEiT:
    method = beit(**options)
    method.prepare(images().images)
    return method


# ---------------------------------------------------------------- block masks
@pytest.mark.parametrize("grid, count, smallest", [(8, 24, 4), (14, 75, 16), (4, 6, 2), (8, 60, 4)])
def test_blocks_never_overshoot_and_may_fall_short(grid, count, smallest):
    """Bug: a block that hides more than is missing; a count that is always exact."""
    draw = random.Random(0)
    counts = [int((~hide_blocks(grid, count, smallest, draw)).sum()) for _ in range(300)]
    assert max(counts) <= count and sum(counts) / len(counts) > 0.95 * count
    if grid == 14:
        assert min(counts) < count, "ten failed tries end it"


class Fixed(random.Random):
    """Always the same area and aspect, always in the corner."""

    def __init__(self, area, shape):
        super().__init__(0)
        self.area, self.shape = area, shape

    def uniform(self, low, high):
        return math.log(self.shape) if low < 0 else self.area

    def randint(self, low, high):
        return low


def test_a_block_is_smaller_than_the_grid():
    """Bug: a block as wide or as high as the grid. 2 x 4 on a grid of 4 is refused, 2 x 3 is not."""
    assert hide_blocks(4, 8, 8, Fixed(8, 0.5)).all() and hide_blocks(4, 8, 8, Fixed(8, 2.0)).all()
    hidden = ~hide_blocks(4, 8, 8, Fixed(6, 2 / 3))
    assert hidden.sum() == 6 and hidden[:2, :3].all(), "the same block again hides nothing new and is refused"


def test_a_block_that_hides_more_than_is_missing_is_refused():
    assert (~hide_blocks(8, 9, 4, Fixed(9, 1.0))).sum() == 9 and hide_blocks(8, 8, 4, Fixed(9, 1.0)).all()
    visible = torch.ones(4, 4, dtype=torch.bool)
    assert add_block(visible, 0, 0, 2, 2, 4) == 4 and add_block(visible, 1, 1, 2, 2, 3) == 3 and visible.sum() == 9
    assert add_block(visible, 0, 0, 3, 3, 1) == 0 and visible.sum() == 9, "a refused block changes nothing"


def test_blocks_are_blocks_and_lie_in_the_middle():
    """Bug: random patches under the name of blocks. Centre cells are in more blocks than corners."""
    blocks = ~block_mask(400, 8, 0.4, generator())
    scattered = torch.rand(400, 64, generator=generator()).argsort(1).argsort(1).view(400, 8, 8) < blocks[0].sum()

    def same_as_right_neighbour(hidden):
        return float((hidden[:, :, 1:] == hidden[:, :, :-1]).float().mean())

    assert same_as_right_neighbour(blocks) > 0.8 > 0.6 > same_as_right_neighbour(scattered)
    share = blocks.float().mean(0)
    assert share[3:5, 3:5].mean() > 3 * share[[0, 0, 7, 7], [0, 7, 0, 7]].mean()


def test_block_mask_is_a_function_of_the_generator_and_true_means_visible():
    a, b, c = (block_mask(5, 8, 0.3, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.dtype == torch.bool
    assert not torch.equal(a[0], a[1]), "one draw for the whole batch"
    assert (a.sum((1, 2)) >= 64 - round(0.3 * 64)).all()


# ---------------------------------------------------------------- the loss, in plain Python
def naive(logits, words, visible) -> float:
    terms = []
    for image in range(len(logits)):
        for place in range(len(words[image])):
            if not visible[image][place]:
                row = logits[image][place]
                terms.append(math.log(sum(math.exp(v) for v in row)) - row[words[image][place]])
    return sum(terms) / len(terms)


def case(b=3, length=16, k=5, seed=0):
    words = torch.randint(k, (b, length), generator=generator(seed))
    visible = torch.rand(b, length, generator=generator(seed)) > torch.linspace(0.2, 0.8, b)[:, None]
    return randn(b, length, k, seed=seed), words, visible


@pytest.mark.parametrize("b, k", [(1, 2), (3, 5), (4, 20)])
def test_the_loss_equals_its_definition(b, k):
    logits, words, visible = case(b, k=k, seed=b)
    wanted = naive(logits.tolist(), words.tolist(), visible.tolist())
    assert float(beit_loss(logits, words, visible)) == pytest.approx(wanted, rel=1e-10)
    square = beit_loss(logits, words.view(b, 4, 4), visible.view(b, 4, 4))
    assert float(square) == pytest.approx(wanted, rel=1e-10)


def test_gradients_reach_hidden_patches_only():
    logits, words, visible = case()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: beit_loss(x, words, visible), (logits,))
    beit_loss(logits, words, visible).backward()
    assert not logits.grad[visible].any() and logits.grad[~visible].any(1).all()


def test_one_mean_over_the_batch():
    """Bug: the mean of per-image means."""
    logits, words, visible = case()
    per_image = [beit_loss(logits[i:i + 1], words[i:i + 1], visible[i:i + 1]) for i in range(3)]
    counts = (~visible).sum(1)
    whole = beit_loss(logits, words, visible)
    assert len(counts.unique()) == 3
    torch.testing.assert_close(whole, sum(c * x for c, x in zip(counts, per_image)) / counts.sum())
    assert abs(float(whole - torch.stack(per_image).mean())) > 1e-3


def test_guessing_costs_log_k():
    words, visible = torch.zeros(2, 16, dtype=torch.long), torch.arange(32).view(2, 16) % 3 > 0
    assert float(beit_loss(torch.zeros(2, 16, 7), words, visible)) == pytest.approx(math.log(7))


def test_the_loss_is_float32_inside_autocast():
    logits, words, visible = case()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = beit_loss(logits.bfloat16(), words, visible)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, beit_loss(logits.bfloat16().float(), words, visible))


# ---------------------------------------------------------------- tokenizers
def test_perplexity_at_its_ends():
    assert float(perplexity(torch.full((9,), 4.0))) == pytest.approx(9)
    assert float(perplexity(torch.tensor([0.0, 12.0, 0.0]))) == pytest.approx(1)
    assert float(perplexity(torch.tensor([3.0, 3.0, 0.0, 0.0]))) == pytest.approx(2), "unused words do not count"
    assert word_counts(torch.tensor([[0, 2], [2, 2]]), 4).tolist() == [1, 0, 3, 0]


def test_kmeans_finds_clear_clusters_and_leaves_none_empty():
    centres = 20 * randn(6, 3)
    points = (centres.repeat_interleave(30, 0) + 0.1 * randn(180, 3, seed=1))
    found = kmeans(points, 6, generator())
    assert (torch.cdist(centres, found).min(1).values < 0.2).all()
    doubles = torch.zeros(40, 2).double()  # two different points only, eight clusters: no NaN
    doubles[20:] = 1
    with pytest.warns(UserWarning, match="distinct clusters"):
        assert kmeans(doubles, 8, generator()).isfinite().all()
    with pytest.raises(ValueError, match="fewer codes"):
        kmeans(points[:3], 6, generator())


@pytest.mark.parametrize("whiten", [True, False])
def test_a_word_is_the_nearest_centre(whiten):
    pictures = images(24).images.float() / 255
    tokenizer = KMeansTokenizer(5, 4, whiten).learn(pictures, generator())
    words = tokenizer.encode(pictures)
    assert words.shape == (24, 4, 4) and words.dtype == torch.long
    for image, row, column in ((0, 0, 0), (3, 1, 2), (20, 3, 3)):  # one patch at a time, with loops
        patch = pictures[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        vector = patch.flatten() @ tokenizer.axes
        wanted = min(range(5), key=lambda k: float((vector - tokenizer.centres[k]).square().sum()))
        assert int(words[image, row, column]) == wanted
    chosen = pictures.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5)[words == 2]
    torch.testing.assert_close(tokenizer.pictures()[2], chosen.mean(0))
    drawn = tokenizer.decode(words)
    torch.testing.assert_close(drawn[3, :, 4:8, 8:12], tokenizer.pictures()[words[3, 1, 2]])
    assert torch.equal(tokenizer.encode((255 * pictures).round().to(torch.uint8)), words), "uint8 as well"


def test_whitened_patches_are_white():
    pictures = torch.rand(200, 3, 16, 16, generator=generator()) * torch.rand(200, 3, 1, 1, generator=generator(1))
    pictures = torch.nn.functional.avg_pool2d(pictures, 3, 1, 1)  # neighbours alike
    tokenizer = KMeansTokenizer(4).learn(pictures, generator(), most=10**6, floor=0.0)
    white = tokenizer._vectors(pictures).flatten(0, 1)
    covariance = (white - white.mean(0)).T @ (white - white.mean(0)) / len(white)
    torch.testing.assert_close(covariance, torch.eye(48), atol=0.05, rtol=0)


def test_a_word_is_about_the_pattern_if_whitened():
    """Bug: words that are colours only. Of the same edges on two grounds, raw k-means names the ground."""
    edge = torch.zeros(4, 1, 4, 4)
    edge[1, :, :, 2:], edge[2, :, 2:], edge[3, :, :2, :2] = 0.15, 0.15, 0.15
    ground = torch.tensor([0.2, 0.7])
    patches = (ground[:, None, None, None, None] + edge).flatten(0, 1).expand(-1, 3, -1, -1)
    many = (patches.repeat(40, 1, 1, 1) + 0.003 * torch.randn(320, 3, 4, 4, generator=generator())).clamp(0, 1)
    raw = KMeansTokenizer(2, whiten=False).learn(many, generator()).encode(patches).view(2, 4)
    assert (raw == raw[:, :1]).all() and raw[0, 0] != raw[1, 0]
    white = KMeansTokenizer(8).learn(many, generator()).encode(patches).view(2, 4)
    assert all(len(set(row.tolist())) == 4 for row in white)


def test_vq_loss_equals_its_definition_and_its_gradients():
    prediction, pictures = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    z, e = randn(2, 4, 5, seed=2), randn(2, 4, 5, seed=3)
    parts = vq_loss(prediction, pictures, z, e, 0.3)
    error = sum((p - x) ** 2 for p, x in zip(prediction.flatten().tolist(), pictures.flatten().tolist())) / 96
    commitment = sum((p - x) ** 2 for p, x in zip(z.flatten().tolist(), e.flatten().tolist())) / 40
    assert float(parts["loss"]) == pytest.approx(error + 0.3 * commitment, rel=1e-10)
    inputs = [t.requires_grad_() for t in (prediction, z)]
    assert torch.autograd.gradcheck(lambda p, q: vq_loss(p, pictures, q, e, 0.3)["loss"], inputs)
    e.requires_grad_()
    vq_loss(prediction, pictures, z, e)["loss"].backward()
    assert e.grad is None, "the words follow by averages, not by the commitment"


def test_the_gradient_passes_the_quantiser_and_the_words_follow():
    """Bugs: no straight-through gradient (the encoder never learns); words frozen; words moved while evaluating."""
    torch.manual_seed(0)
    tokenizer = VQVAE(6, 4, width=8, dim=3)
    pictures = images(12).images.float() / 255
    before = tokenizer.words.clone()
    tokenizer.train().loss(pictures)["reconstruction"].backward()
    assert all(p.grad is not None and p.grad.any() for p in tokenizer.backbone.parameters())
    assert not torch.equal(before, tokenizer.words) and tokenizer.fitted
    after = tokenizer.words.clone()
    tokenizer.eval().loss(pictures)
    assert torch.equal(after, tokenizer.words)


def test_words_are_moving_averages_of_their_codes():
    torch.manual_seed(0)
    tokenizer = VQVAE(3, 4, width=8, dim=2, decay=0.9, revive=False)
    z, token = torch.randn(10, 2), torch.tensor([0] * 4 + [2] * 6)
    counts, sums = tokenizer.counts.clone(), tokenizer.sums.clone()
    tokenizer._learn(z, token)
    for word in range(3):
        count = 0.9 * counts[word] + 0.1 * (token == word).sum()
        total = 0.9 * sums[word] + 0.1 * z[token == word].sum(0)
        torch.testing.assert_close(tokenizer.words[word], total / count)


def test_dead_words_are_revived():
    """Bug: dead codes. Codes in a narrow cloud, far from most words: without revival one or two win for ever."""
    used = {}
    for revive in (False, True):
        torch.manual_seed(0)
        tokenizer = VQVAE(32, 4, width=8, dim=2, revive=revive, decay=0.5)
        tokenizer.words.mul_(30), tokenizer.sums.mul_(30)
        for step in range(30):
            z = 0.1 * torch.randn(200, 2, generator=generator(step)) + 4
            token = tokenizer._assign(z)
            tokenizer._learn(z, token)
        used[revive] = float(perplexity(word_counts(tokenizer._assign(z), 32)))
    assert used[True] > 20 > 4 > used[False]


def test_words_are_found_in_float32_inside_autocast():
    """Bug: distances in half precision, by which close words are taken for each other."""
    torch.manual_seed(0)
    vqvae, pictures = VQVAE(32, 4, width=8, dim=6), images(24).images
    vqvae.words.copy_(1 + 0.03 * torch.randn(32, 6))
    z, tokenizer = vqvae.words + 0.002 * torch.randn(32, 6), KMeansTokenizer(16).learn(pictures, generator())
    words = tokenizer.encode(pictures)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vqvae._assign(z), torch.arange(32))
        assert torch.equal(tokenizer.encode(pictures), words)
    assert kmeans(z.bfloat16(), 3, generator()).dtype == torch.bfloat16, "NumPy has no bfloat16"


@pytest.mark.parametrize("patch", [2, 4, 8])
def test_vqvae_shapes(patch):
    tokenizer = VQVAE(6, patch, width=8, dim=3).eval()
    pictures = images(4).images.float() / 255
    words = tokenizer.encode(pictures)
    assert words.shape == (4, 16 // patch, 16 // patch) and tokenizer.decode(words).shape == pictures.shape
    assert tokenizer.pictures().shape == (6, 3, patch, patch)
    with pytest.raises(ValueError, match="power of 2"):
        VQVAE(6, 3)


def test_a_vqvae_learns_and_resumes_bit_exactly(tmp_path):
    def make():
        torch.manual_seed(0)
        return VQVAE(6, 4, width=8, dim=3)

    settings = {**SMALL, "steps": 20, "lr": 1e-2, "log_every": 1}
    whole, again = make(), make()
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    assert history.curves["reconstruction"][-1] < history.curves["reconstruction"][0]
    fit(make(), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


# ---------------------------------------------------------------- the module
def views(method, seed=0, count=8):
    batch = Batch(images().images[:count], torch.arange(count), None)
    return method.views(batch, generator(seed))


def test_words_are_those_of_the_clean_crop():
    """Bugs: words of the masked image; words of another crop than the network sees."""
    method = prepared()
    pictures, words, visible = views(method)
    assert pictures.shape == (8, 3, 16, 16) and words.shape == visible.shape == (8, 4, 4)
    assert torch.equal(words, method.tokenizer.encode(pictures))


@pytest.mark.parametrize("masks", ["block", "random"])
def test_hidden_pixels_change_nothing_visible_ones_do(masks):
    method = prepared(masks=masks, mask_ratio=0.4).eval()
    pictures, _, visible = views(method)
    pixels = visible.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
    other = torch.rand(pictures.shape, generator=generator(5))
    with torch.no_grad():
        wanted = method.logits(pictures, visible)
        torch.testing.assert_close(method.logits(torch.where(pixels, pictures, other), visible), wanted)
        assert not torch.allclose(method.logits(torch.where(pixels, other, pictures), visible), wanted)


def test_position_is_known_by_the_relative_bias_alone():
    """Without absolute positions and with the bias still zero, all hidden patches of an image look alike."""
    method = prepared(masks="random", mask_ratio=0.5).eval()
    pictures, _, visible = views(method)
    with torch.no_grad():
        logits = method.logits(pictures, visible)
        for image in range(8):
            hidden = logits[image][~visible[image].flatten()]
            torch.testing.assert_close(hidden, hidden[:1].expand_as(hidden))
        torch.nn.init.normal_(method.backbone.relative.table)
        hidden = method.logits(pictures, visible)[0][~visible[0].flatten()]
        assert not torch.allclose(hidden, hidden[:1].expand_as(hidden))


def test_the_tokenizer_is_frozen_and_learned_once():
    method = beit()
    assert not method.tokenizer.fitted
    start = state(method)
    fit(method, images(), steps=3, **SMALL)
    learned = state(method.tokenizer)
    assert method.tokenizer.fitted and not torch.equal(start["tokenizer.centres"], learned["centres"])
    fit(method, images(), steps=3, **SMALL)
    assert same(learned, state(method.tokenizer))


def test_a_trained_vqvae_as_tokenizer():
    """Bug: the frozen tokenizer goes on learning, since the method's train() woke it up."""
    torch.manual_seed(0)
    tokenizer = VQVAE(6, 2, width=8, dim=3)
    with pytest.raises(ValueError, match="not trained"):
        BEiT(ViT(16, **TINY), 16, tokenizer=tokenizer).prepare(images().images)
    fit(tokenizer.requires_grad_(), images(), steps=2, **SMALL)
    before = state(tokenizer)
    method = BEiT(ViT(16, **TINY), 16, tokenizer=tokenizer)
    fit(method, images(), steps=3, **SMALL)
    assert same(before, state(method.tokenizer)) and method.train().tokenizer.training is False
    assert views(method)[1].shape == (8, 4, 4), "its patches are half as large: it sees a copy of half the size"


def test_parts_embed_and_reconstruct():
    method = prepared()
    parts = method.loss(views(method))
    assert parts["loss"].shape == () and 0 <= float(parts["accuracy"]) <= 1
    assert float(parts["loss"].detach()) == pytest.approx(math.log(7), rel=0.1), "guessing, at first"
    pictures, words, visible = views(method.eval())
    assert method.embed(pictures).shape == (8, 12)
    filled = method.reconstruct(pictures, visible)
    pixels = visible.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1).expand_as(filled)
    assert torch.equal(filled[pixels], pictures[pixels])
    patch = filled[0].unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4)[~visible[0]][0]
    assert any(torch.allclose(patch, each) for each in method.tokenizer.pictures()), "a hidden patch shows a word"


def test_branches_start_small_and_keys_have_no_bias():
    method = beit()
    vit = method.backbone
    assert vit.positions is None and vit.relative is not None and not vit.blocks[0].attn.key_bias
    assert vit.blocks[0].scale1.unique().tolist() == pytest.approx([0.1])
    assert not vit.relative.table.any() and method.mask_token.abs().max() <= 0.02
    assert not method.head.bias.any() and method.head.weight.abs().max() <= 0.02


def test_every_parameter_is_trained_once_and_the_bias_quickly():
    method = beit(bias_lr=7.0)
    groups = method.param_groups(0.1)
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    table = method.backbone.relative.table
    assert [group["lr_scale"] for group in groups if any(p is table for p in group["params"])] == [7]
    plain = beit()
    plain.backbone.relative = None
    assert all("lr_scale" not in group for group in plain.param_groups(0.1))


def test_a_vit_by_name_is_the_paper_s():
    vit = build_method("beit", "vit-tiny", 16, backbone_options={"dim": 12, "depth": 1}).backbone
    assert vit.positions is None and vit.relative is not None and vit.pool == "mean" and not vit.blocks[0].attn.key_bias
    plain = build_method("beit", "vit-tiny", 16, backbone_options={"dim": 12, "depth": 1, "positions": "sincos"})
    assert plain.backbone.positions is not None and plain.settings["backbone_options"]["relative"] == "shared"


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="needs a ViT"):
        build_method("beit", "convnet", 16)
    with pytest.raises(ValueError, match="block"):
        beit(masks="grid")
    with pytest.raises(ValueError, match="tokenizer"):
        beit(tokenizer="dalle")


@pytest.mark.parametrize("cut", [1, 4])
def test_resume_is_bit_exact(tmp_path, cut):
    settings = {**SMALL, "steps": 7, "log_every": 1}
    whole, again = beit(), beit(seed=7)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(beit(), images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)), "the words travel in the checkpoint"


# ---------------------------------------------------------------- as in the official code
def test_the_position_bias_decays_and_the_class_token_does_not():
    """no_weight_decay of the official ViT: class token and positions; vectors besides."""
    method = build_method("beit", "vit-tiny", 32)
    decay = {id(p): group["weight_decay"] for group in method.param_groups(0.1) for p in group["params"]}
    assert decay[id(method.backbone.relative.table)] == 0.1 and decay[id(method.backbone.class_token)] == 0.0
    assert decay[id(method.mask_token)] == 0.1 and decay[id(method.backbone.norm.weight)] == 0.0
    assert len(decay) == sum(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize("masks", ["block", "random"])
@pytest.mark.parametrize("mask_ratio", [0.0, 0.001, 1.0, -1.0])
def test_a_share_that_hides_nothing_or_all_is_refused(masks, mask_ratio):
    with pytest.raises(ValueError, match="mask_ratio"):
        build_method("beit", "vit-tiny", 32, mask_ratio=mask_ratio, masks=masks)
