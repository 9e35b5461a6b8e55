"""Deep InfoMax: its objectives against loops in plain Python, official slips, the prior, maps, the module."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.cli.main import main
from course_lib.methods import build_method
from course_lib.methods.information import estimators as mi
from course_lib.methods.information.amdim import prediction_loss
from course_lib.methods.information.dim import (
    ESTIMATORS,
    PlaceNet,
    WholeNet,
    as_they_are,
    information_loss,
    pair_scores,
    prior_losses,
)
from course_lib.models.layers import normalize
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from golden.arrays import arrays
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("dim", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"units": 12, "code": 6, "hidden": (9, 5), **options})


# ---------------------------------------------------------------- the loss, in plain Python
def naive(places, codes, estimator, own=-math.inf) -> float:
    """Places (N, d, L), codes (N, d, M), as lists."""
    n, d, spots, several = len(places), len(places[0]), len(places[0][0]), len(codes[0][0])

    def u(i, k, spot, m):
        return sum(codes[i][c][m] * places[k][c][spot] for c in range(d))

    def sp(v):
        return math.log(1 + math.exp(v))

    joint = [u(i, i, spot, m) for i in range(n) for spot in range(spots) for m in range(several)]
    product = [u(i, k, spot, m) for i in range(n) for k in range(n) if i != k for spot in range(spots)
               for m in range(several)]
    if estimator == "jsd":
        return -sum(math.log(2) - sp(-v) for v in joint) / len(joint) + sum(sp(v) - math.log(2)
                                                                            for v in product) / len(product)
    if estimator == "dv":
        return math.log(sum(map(math.exp, product)) / len(product)) - sum(joint) / len(joint)
    if estimator == "nwj":
        return sum(math.exp(v - 1) for v in product) / len(product) - sum(joint) / len(joint)
    total = 0.0
    for i in range(n):
        for m in range(several):
            rivals = sum(math.exp(u(i, k, spot, m)) for k in range(n) if k != i for spot in range(spots))
            rivals += spots * math.exp(own)
            total -= sum(math.log(math.exp(u(i, i, spot, m)) / (math.exp(u(i, i, spot, m)) + rivals))
                         for spot in range(spots))
    return total / len(joint)


@pytest.mark.parametrize("n, d, places, codes", [(2, 3, 1, 1), (4, 3, 5, 1), (4, 2, 4, 1), (3, 4, 2, 3), (4, 3, 4, 4)])
@pytest.mark.parametrize("estimator", ["jsd", "dv", "nwj", "infonce"])
def test_the_loss_equals_its_definition(n, d, places, codes, estimator):
    """Bug: a mask of pairs that broadcasts over places, seen where places and codes are as many as images."""
    local, glob = randn(n, d, places), randn(n, d, codes, seed=1)
    got = information_loss(local, glob, estimator)
    assert float(got) == pytest.approx(naive(local.tolist(), glob.tolist(), estimator), rel=1e-10)


def test_the_official_mask_of_infonce_adds_rivals():
    """Bug: -10 for what is to be left out. Where all scores are below, the own places then drown the own place."""
    local, glob = randn(4, 3, 5), randn(4, 3, 1, seed=1)
    masked = information_loss(local, glob, "infonce", own=-10.0)
    assert float(masked) == pytest.approx(naive(local.tolist(), glob.tolist(), "infonce", -10.0), rel=1e-10)
    assert masked > information_loss(local, glob, "infonce")
    low = torch.full((4, 1, 5), -20.0)
    assert information_loss(low, torch.ones(4, 1, 1), "infonce") == pytest.approx(math.log(1 + 3 * 5))
    assert information_loss(low, torch.ones(4, 1, 1), "infonce", own=-10.0) > 10


def test_the_official_donsker_varadhan_is_another_number():
    z = arrays("dim.npz")
    ours = information_loss(z["dv_local_n5_l5_m5"], z["dv_glob_n5_l5_m5"], "dv")
    assert float(ours) == pytest.approx(float(z["dv_textbook_n5_l5_m5"]), rel=1e-5)
    assert float(z["dv_official_n5_l5_m5"]) > 10 * float(ours) and bool(z["dv_official_n5_l4_m1"].isnan())


def test_one_place_is_the_estimator_of_a_matrix_of_scores():
    local, glob = randn(5, 3, 1), randn(5, 3, 1, seed=1)
    scores = glob.squeeze(2) @ local.squeeze(2).T
    torch.testing.assert_close(pair_scores(local, glob)[..., 0, 0], scores)
    torch.testing.assert_close(information_loss(local, glob, "dv"), -mi.donsker_varadhan(scores))
    torch.testing.assert_close(information_loss(local, glob, "infonce"), math.log(5) - mi.infonce(scores))
    amdims = prediction_loss(glob.squeeze(2) * math.sqrt(3), local[..., None], math.inf, 0.0)[0]
    torch.testing.assert_close(information_loss(local, glob, "infonce"), amdims)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_and_float32_inside_autocast(estimator):
    local, glob = randn(3, 2, 2).requires_grad_(), randn(3, 2, 1, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: information_loss(a, b, estimator), (local, glob))
    local, glob = local.detach().float(), glob.detach().float()
    wanted = information_loss(local, glob, estimator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(information_loss(local, glob, estimator), wanted)
        assert information_loss(local.bfloat16(), glob.bfloat16(), estimator).dtype == torch.float32


def test_large_scores_are_finite():
    local, glob = (1e3 * randn(4, 3, 5)).requires_grad_(), 1e3 * randn(4, 3, 1, seed=1)
    for estimator in ("jsd", "dv", "infonce"):
        loss = information_loss(local, glob, estimator)
        loss.backward()
        assert loss.isfinite() and local.grad.isfinite().all(), estimator


# ---------------------------------------------------------------- the prior
def test_each_of_the_two_players_has_its_own_loss():
    torch.manual_seed(0)
    discriminator = torch.nn.Linear(3, 1).double()
    codes, prior = randn(6, 3).sigmoid().requires_grad_(), torch.rand(6, 3, dtype=torch.float64)
    fooled, told = prior_losses(discriminator, codes, prior)
    real, fake = (discriminator(x).flatten().tolist() for x in (prior, codes))

    def log_sigmoid(v):
        return -math.log(1 + math.exp(-v))

    assert fooled.item() == pytest.approx(-sum(map(log_sigmoid, fake)) / 6)
    assert told.item() == pytest.approx(-sum(map(log_sigmoid, real)) / 6 - sum(log_sigmoid(-v) for v in fake) / 6)
    fooled.backward()
    assert codes.grad.abs().sum() > 0 and discriminator.weight.grad is None
    codes.grad = None
    told.backward()
    assert codes.grad is None and discriminator.weight.grad.abs().sum() > 0


def test_the_prior_spreads_codes():
    """Codes alone, without any information: from a heap at 0.27 to a spread like that of uniform draws, 0.29."""
    torch.manual_seed(0)
    codes = torch.nn.Parameter(0.1 * torch.randn(128, 1) - 1)
    discriminator = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam([codes, *discriminator.parameters()], lr=0.02, betas=(0.5, 0.9))
    for _ in range(400):
        optimizer.zero_grad()
        sum(prior_losses(discriminator, codes.sigmoid(), torch.rand(128, 1))).backward()
        optimizer.step()
    found = codes.sigmoid().detach()
    assert 0.15 < found.std() and abs(float(found.mean()) - 0.5) < 0.15


def test_the_prior_is_in_float32_inside_autocast():
    """Bug: a sigmoid in bfloat16 is 1 from a code of 7 on, where the encoder then has no gradient."""
    method = build(prior_weight=0.1)
    with torch.no_grad():
        method.code.bias.fill_(8.0)
    with torch.autocast("cpu", torch.bfloat16):
        parts = method.loss(views(method))
    assert parts["prior"].dtype == torch.float32
    assert (torch.autograd.grad(parts["prior"], method.code.bias)[0] != 0).all()


# ---------------------------------------------------------------- the module
def test_the_view_is_the_image_itself_unless_asked():
    method, given = build(), images(4)
    seen, prior = views(method, 4)
    torch.testing.assert_close(seen, given.images.float() / 255, atol=1e-6, rtol=0)
    assert prior.shape == (4, 6) and prior.min() >= 0 and prior.max() < 1 and prior.std() > 0.2
    assert as_they_are(16).size == 16


def test_which_map_is_compared():
    assert build().level == 0 and build(level=1).level == 1
    torch.manual_seed(0)
    method = build_method("dim", "convnet", 32)
    assert method.level == 1 and method.critics["local"]["map"].shortcut.in_channels == 64
    maps = method.backbone.stages(torch.rand(2, 3, 32, 32))
    assert maps[method.level].shape[2:] == (8, 8)
    paper = build_method("dim", "amdim-net", 32, backbone_options={"width": 4, "dim": 16})
    assert paper.level == 1


def test_the_official_critic_starts_as_a_near_identity_under_a_layer_norm():
    torch.manual_seed(0)
    net, maps = PlaceNet(4, 6), torch.rand(2, 4, 3, 3)
    torch.nn.init.zeros_(net.branch[-1].weight)
    torch.nn.init.zeros_(net.branch[-1].bias)
    wide = torch.cat([maps, torch.zeros(2, 2, 3, 3)], 1)
    wanted = (wide - wide.mean(1, keepdim=True)) / wide.std(1, keepdim=True, unbiased=False)
    torch.testing.assert_close(net(maps), wanted, atol=0.15, rtol=0)
    assert PlaceNet(6, 4)(torch.rand(2, 6, 3, 3)).shape == (2, 4, 3, 3)
    whole = WholeNet(4, 6).eval()
    assert whole(maps).shape == (2, 6, 1, 1)
    assert not torch.allclose(whole(maps), whole(maps.flip(3))), "it knows where things are"


@pytest.mark.parametrize("local, glob, prior", [(1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (1.0, 0.5, 0.1)])
def test_loss_and_gradients_of_the_module(local, glob, prior):
    method = build(local_weight=local, global_weight=glob, prior_weight=prior, scale=0.5)
    parts = method.loss(views(method))
    names = {"local": local, "global": glob, "prior": prior}
    assert set(parts) - {"loss", "embedding", "views_per_image", "discriminator"} == {k for k, w in names.items() if w}
    wanted = sum(names[name] * parts[name] for name in names if names[name]) + parts.get("discriminator", 0)
    torch.testing.assert_close(parts["loss"], wanted)
    assert parts["embedding"].shape == (8, 6) and parts["views_per_image"] == 1
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())
    assert method.embed(images(5).images).shape == (5, 8)


def test_the_local_part_is_made_of_the_code_and_the_places():
    method = build(scale=0.5)
    given = views(method)
    maps = method.backbone.stages((given[0] - 0.45) / 0.25)
    assert maps[0].shape == (8, 4, 8, 8)
    codes = method.code(maps[-1].mean((2, 3)))
    nets = method.critics["local"]
    wanted = information_loss(nets["map"](maps[0]).flatten(2), 0.5 * nets["code"](codes[:, :, None, None]).flatten(2))
    parts = method.loss(given)
    torch.testing.assert_close(parts["local"], wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parts["embedding"], normalize(codes.detach()), atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_is_a_sentence():
    for options, says in (({"estimator": "kl"}, "estimator is 'kl'; expected one of infonce, dv, gan, jsd"),
                          ({"level": 2}, "level is 2; expected one of the backbone's 2 maps"),
                          ({"level": -1}, "level is -1"), ({"scale": 0}, "scale is 0"),
                          ({"local_weight": 0.0}, "expected 0 or more, and local or global above 0"),
                          ({"prior_weight": -1.0}, "expected 0 or more")):
        with pytest.raises(ValueError, match=says):
            build(**options)
    with pytest.raises(ValueError, match="DIM needs feature maps, ViT has none"):
        build_method("dim", "vit-tiny", 16)
    with pytest.raises(ValueError, match="with several places"):
        build_method("dim", "convnet", 8, backbone_options={"depth": 3}, level=2)
    with pytest.raises(ValueError, match="DIM compares images .* needs two or more, got 1"):
        method = build()
        method.loss(views(method, 1))


@pytest.mark.parametrize("estimator", ["jsd", "infonce", "dv", "nwj"])
def test_twenty_steps_make_the_loss_fall(estimator):
    method = build(estimator=estimator)
    assert method.scale == pytest.approx(12**-0.5)
    history = fit(method, images(64), steps=20, **{**SMALL, "batch_size": 16}, lr=0.003,
                  log_every=1)
    losses = history.curves["loss"]
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.3, losses


def test_a_run_by_name_is_rebuilt(tmp_path):
    words = ["train", "dim", "--data", "shapes", "--limit", "40", "--device", "cpu", "--steps", "2",
             "--batch-size", "8", "--set", "estimator=infonce", "--set", "global_weight=0.5", "--set", "units=16",
             "--set", "prior_weight=0.1", "--set", "hidden=8,4", "--no-evaluate", "--out", str(tmp_path)]
    assert main(words) == 0
    method = checkpoint.load_method(tmp_path / "last.pt")
    assert method.estimator == "infonce" and set(method.critics) == {"local", "global"}
    assert method.augment.jitter_p == 1.0, "the views that suit generated images"


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(prior_weight=0.1), build(seed=7, prior_weight=0.1)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(prior_weight=0.1), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
