"""Feature lenses: the substitute loss against loops, transformations and their way back, the frozen host, the gate."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.geometry import affine
from course_lib.augment.pixels import standardize
from course_lib.cli.main import main
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.lenses import KINDS, Lens, top_k_contrast, transformed, turned_back
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views

DRAWS = {"turn": 180.0, "scale": (0.6, 1.4), "light": (0.4, 1.6)}


def lenses(seed=0, **options):
    """Over random weights, but with batch norms that know the pictures' statistics, as those of a trained host do."""
    torch.manual_seed(seed)
    method = build_method("lenses", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                          **{"width": 4, "top": 0.3, **options})
    method.backbone.train()
    for _ in range(60):
        method.backbone(standardize(images(64).images))
    return method.train()


# ---------------------------------------------------------------- the loss, in plain Python
def naive(predicted: list[list[float]], target: list[list[float]], k: int, weight: float) -> float:
    match = above = 0.0
    for p, h in zip(predicted, target):
        places = sorted(range(len(h)), key=lambda i, h=h: -h[i])
        strongest, others = places[:k], places[k:]
        match += sum((p[i] - h[i]) ** 2 for i in strongest) / k
        above += sum(max(0.0, p[i] - h[strongest[-1]]) for i in others) / max(1, len(others))
    return (match + weight * above) / len(target)


@pytest.mark.parametrize("k", [1, 4, 18])
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_loss_equals_its_definition(k, weight):
    predicted, target = randn(5, 2, 3, 3), randn(5, 2, 3, 3, seed=1)
    parts = top_k_contrast(predicted, target, k, weight)
    wanted = naive(predicted.flatten(1).tolist(), target.flatten(1).tolist(), k, weight)
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-10)
    torch.testing.assert_close(parts["loss"], parts["match"] + weight * parts["above"])


def test_what_is_weak_may_be_anything_below_the_strongest():
    """Why it is not squared error: mistakes among the zeros, where most activations are, cost nothing."""
    target = torch.tensor([[0.0, 0.0, 0.0, 3.0, 2.0]])
    wrong_zeros = torch.tensor([[0.9, -4.0, 1.9, 3.0, 2.0]])
    assert float(top_k_contrast(wrong_zeros, target, 2)["loss"]) == 0.0
    faded = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
    assert float(top_k_contrast(faded, target, 2)["loss"]) == pytest.approx((4 + 1) / 2)
    risen = torch.tensor([[2.5, 0.0, 0.0, 3.0, 2.0]])
    assert float(top_k_contrast(risen, target, 2)["above"]) == pytest.approx(0.5 / 3)
    assert float(top_k_contrast(target, target, 5)["loss"]) == 0.0


def test_gradients_reach_the_prediction_only():
    predicted, target = randn(3, 10).requires_grad_(), randn(3, 10, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: top_k_contrast(p, target.detach(), 3)["loss"], predicted)
    top_k_contrast(predicted, target, 3)["loss"].backward()
    assert target.grad is None and predicted.grad.abs().sum() > 0


def test_float32_inside_autocast():
    predicted, target = randn(4, 20, dtype=torch.float32), randn(4, 20, seed=1, dtype=torch.float32)
    wanted = top_k_contrast(predicted, target, 5)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(top_k_contrast(predicted, target, 5)["loss"], wanted)
    halves = top_k_contrast(predicted.half(), target.half(), 5)["loss"]
    assert halves.dtype == torch.float32 and float(halves) == pytest.approx(float(wanted), rel=1e-2)


def test_bad_input_is_a_sentence():
    for k in (0, 11):
        with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 10"):
            top_k_contrast(randn(2, 10), randn(2, 10), k)
    with pytest.raises(ValueError, match=r"predicted is \(2, 10\) and target \(2, 9\)"):
        top_k_contrast(randn(2, 10), randn(2, 9), 1)
    for options, says in (({"kinds": ("blur",)}, "kinds has 'blur'; expected some of turn"),
                          ({"kinds": ()}, "expected one or more"), ({"kinds": ("turn", "turn")}, "each once"),
                          ({"top": 0.0}, "top is 0.0; expected a share"), ({"combine": "sum"}, "combine is 'sum'")):
        with pytest.raises(ValueError, match=says):
            lenses(**options)
    with pytest.raises(ValueError, match="Feature Lenses needs feature maps, ViT has none"):
        build_method("lenses", "vit-tiny", 16)
    assert list(lenses(kinds="light,turn").lenses) == ["light", "turn"]  # as `--set kinds=light,turn` gives it


# ---------------------------------------------------------------- transformations
@pytest.mark.parametrize("kind", KINDS)
def test_transformations(kind):
    pictures = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.5
    changed, degrees, zoom = transformed(pictures, kind, torch.Generator().manual_seed(0), **DRAWS)
    assert changed.shape == pictures.shape and len({float(x.mean()) for x in changed}) == 6
    assert (degrees.abs().amax() > 0) == (kind == "turn") and degrees.abs().amax() <= 180
    assert ((zoom != 1).any()) == (kind == "scale") and zoom.min() >= 0.6 and zoom.max() <= 1.4
    if kind == "light":
        ratio = (changed / pictures).flatten(1)
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


@pytest.mark.parametrize("kind", ["turn", "scale"])
def test_maps_are_turned_back(kind):
    """Bug: a turned picture's map compared place by place. A smooth map, away from the edge, comes back."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 32, dtype=torch.float64)] * 2, indexing="ij")
    maps = torch.stack([x, y, x * y, x + y**2])[None].expand(5, -1, -1, -1).float()
    changed, degrees, zoom = transformed(maps, kind, torch.Generator().manual_seed(0), 180.0, (0.8, 1.2), (1.0, 1.0))
    back = turned_back(changed, degrees, zoom)
    middle = (slice(None), slice(None), slice(10, 22), slice(10, 22))
    assert (changed - maps)[middle].abs().max() > 0.1
    torch.testing.assert_close(back[middle], maps[middle], atol=0.01, rtol=0)
    quarter = affine(maps, torch.full((5,), 90.0), torch.zeros(5, 2), torch.ones(5))
    torch.testing.assert_close(quarter, maps.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(turned_back(quarter, torch.full((5,), 90.0), torch.ones(5)), maps, atol=1e-4, rtol=0)


# ---------------------------------------------------------------- the module
def test_it_starts_as_the_host():
    maps = randn(2, 6, 3, 3, dtype=torch.float32).relu()
    assert torch.equal(Lens(6, 4).eval()(maps), maps)
    for combine in ("gate", "average"):
        method = lenses(combine=combine).eval()
        pictures = images(5).images
        torch.testing.assert_close(method.embed(pictures), method.backbone(standardize(pictures)))


def test_the_host_does_not_move():
    """Bugs: batch norm of the host in training mode; its weights among the optimizer's."""
    host = build_method("lenses", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=4).backbone
    assert all(not module.training for module in host.modules()), "before the first call of train()"
    method = lenses()
    before = state(method)
    fit(method, images(), steps=5, lr=0.01, **SMALL)
    after = state(method)
    assert not method.train().backbone.training and all(not m.training for m in method.backbone.modules())
    for key in before:
        moved = not torch.equal(before[key], after[key])
        assert moved != key.startswith("backbone."), key
    trained = {id(p) for group in method.param_groups(0.1) for p in group["params"]}
    assert trained == {id(p) for p in (*method.lenses.parameters(), *method.gate.parameters())}


def test_the_loss_by_hand():
    method = lenses(kinds=("turn", "light"))
    given = views(method)
    pictures, ((turned, degrees, zoom), (lit, _, _)) = given
    parts = method.loss(given)
    wanted = method.backbone.stages(standardize(pictures))[-1]
    k = round(0.3 * wanted[0].numel())
    maps = {"turn": method.maps(turned), "light": method.maps(lit)}
    seen = {"turn": turned_back(method.lenses["turn"](maps["turn"]), degrees, zoom),
            "light": method.lenses["light"](maps["light"])}
    for kind in seen:
        torch.testing.assert_close(parts[kind], top_k_contrast(seen[kind], wanted, k)["loss"])
    logits = method.gate(torch.cat([m.mean((2, 3)) for m in (wanted, *maps.values())]))
    gate = torch.nn.functional.cross_entropy(logits, torch.arange(3).repeat_interleave(8))
    torch.testing.assert_close(parts["gate"], gate)
    torch.testing.assert_close(parts["loss"], parts["turn"] + parts["light"] + gate)
    method.undo = False
    plain = top_k_contrast(method.lenses["turn"](maps["turn"]), wanted, k)["loss"]
    torch.testing.assert_close(method.loss(given)["turn"], plain)
    method.contrast = False
    squared = (method.lenses["light"](maps["light"]) - wanted).square().mean()
    torch.testing.assert_close(method.loss(given)["light"], squared)
    doubled = pictures.double(), [(changed.double(), degrees, zoom) for changed, degrees, zoom in given[1]]
    assert method.double().loss(doubled)["gate"].dtype == torch.float64


def test_the_gate_weighs_the_lenses():
    method = lenses(kinds=("turn", "light")).eval()
    torch.nn.init.constant_(method.lenses["turn"].change[-1].bias, 2.0)
    maps = method.maps(images(4).images)
    torch.testing.assert_close(method.lenses["turn"](maps), maps + 2)
    shares = method.gate(maps.mean((2, 3))).softmax(1)
    torch.testing.assert_close(method.corrected(maps), maps + 2 * shares[:, 1, None, None, None])
    method.gate = None
    torch.testing.assert_close(method.corrected(maps), maps + 1)


def test_a_lens_learns_what_the_light_does():
    """What the maps of darkened pictures lack comes back: closer than without a lens."""
    method = lenses(kinds=("light",), contrast=False, light=(0.2, 0.3), width=16)
    fit(method, images(64), steps=60, lr=0.01, **SMALL)
    pictures = images(40, seed=5).images.float() / 255
    wanted, dark = method.maps(pictures), method.maps(pictures * 0.25)
    assert (method.lenses["light"](dark) - wanted).square().mean() < 0.8 * (dark - wanted).square().mean()


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, part, again = lenses(), lenses(), lenses(seed=7)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    torch.manual_seed(99)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves


def test_over_a_resnet():
    method = build_method("lenses", "resnet18", 32, width=8)
    given = method.views(Batch(images(4, 32).images, torch.arange(4)), torch.Generator())
    assert torch.isfinite(method.loss(given)["loss"])
    assert method.eval().embed(images(2, 32).images).shape == (2, 512)


# ---------------------------------------------------------------- from the command line
def course(name, out, *words, width="width") -> int:
    small = ("--data", "shapes", "--limit", "64", "--batch-size", "16", "--device", "cpu", "--backbone-set", "depth=2",
             "--backbone-set", "widths=4,8", "--no-evaluate", "--set", f"{width}=8", "--steps", "2")
    return main(["train", name, *small, "--out", str(out), *map(str, words)])


def test_the_host_comes_from_a_run(tmp_path, capsys):
    assert course("vicreg", tmp_path / "host") == 0
    weights, last = tmp_path / "host" / "backbone.pt", tmp_path / "host" / "last.pt"
    assert course("lenses", tmp_path / "lenses", "--weights", weights) == 0
    host = checkpoint.load_method(last).backbone.state_dict()
    assert same(host, checkpoint.load_method(tmp_path / "lenses" / "last.pt").backbone.state_dict())
    capsys.readouterr()
    assert course("byol", tmp_path / "byol", "--weights", weights, width="out") == 2
    assert "BYOL has a second encoder" in capsys.readouterr().err
    weights.unlink()  # a resumed run has its host in its checkpoint
    assert main(["train", "--resume", "--out", str(tmp_path / "lenses"), "--no-evaluate"]) == 0
    for file, says in ((weights, "there is no checkpoint"), (last, "is a whole run and not a backbone")):
        capsys.readouterr()
        assert course("lenses", tmp_path / "other", "--weights", file) == 2
        assert says in capsys.readouterr().err
