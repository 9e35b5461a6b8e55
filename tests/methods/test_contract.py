"""What holds for every method, and that a new one joins by one file and one line."""

from __future__ import annotations

import inspect

import pytest
import torch

from course_lib.augment.masks import enlarge, patch_mask
from course_lib.cli.main import main
from course_lib.methods import METHODS, build_method, contrastive, method_class
from course_lib.methods.base import Method, ReconstructionMethod
from course_lib.train.settings import Settings

NEW = '''"""A new paper: the two views' embeddings, centred, are to be alike."""

import torch

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.methods.base import TwoViewMethod


class Alike(TwoViewMethod):
    title, week, recipe = "Alike", 29, {"lr": 2e-3, "batch_size": 16}

    def __init__(self, backbone, image_size=32, weight: float = 1.0, augment=None):
        super().__init__()
        self.backbone, self.weight = backbone, weight
        self.augment = self.other = augment or Augment(image_size)

    def loss(self, views, progress=0.0):
        a, b = (self.backbone(standardize(view)) for view in views)
        return {"loss": self.weight * ((a - a.mean(0)) - (b - b.mean(0))).square().mean(), "embedding": a.detach()}
'''


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name):
    cls = method_class(name)
    assert issubclass(cls, Method) and cls.title and 1 <= cls.week <= 28
    assert set(cls.recipe) <= set(Settings.__dataclass_fields__), "a recipe holds settings of fit and nothing else"
    Settings.resolve(cls)
    parameters = list(inspect.signature(cls.__init__).parameters)
    assert parameters[:3] == ["self", "backbone", "image_size"]
    assert inspect.signature(cls.loss).parameters["progress"].default == 0.0
    assert "arXiv" in inspect.getdoc(inspect.getmodule(cls))


DRAWING = [name for name in METHODS if issubclass(method_class(name), ReconstructionMethod)]


@pytest.mark.parametrize("name", DRAWING)
def test_a_reconstruction_keeps_what_is_visible_and_fills_in_the_rest(name):
    torch.manual_seed(0)
    method = build_method(name, "convnet" if name == "spark" else "vit-tiny", 32).eval()
    images, side = torch.rand(2, 3, 32, 32), method.mask_grid or method.grid
    visible = enlarge(patch_mask(2, side, method.mask_ratio, torch.Generator()).unsqueeze(1), method.grid)
    drawn = method.reconstruct(images, visible.squeeze(1))
    seen = enlarge(visible, 32).expand_as(images)
    assert drawn.shape == images.shape and method.grid * method.patch == 32
    torch.testing.assert_close(drawn[seen], images[seen], atol=1e-6, rtol=0)
    assert not torch.isclose(drawn[~seen], images[~seen]).all()
    assert method.pixels or not method.normalized, "only pixels can be normalised per patch"


def test_which_methods_draw():
    assert set(DRAWING) == {"spark", "mae", "simmim", "beit", "dmae"}


def test_an_option_that_a_method_has_not_is_named_with_those_that_it_has():
    with pytest.raises(ValueError, match="vicreg has no option 'covarianse'; it has .*covariance"):
        build_method("vicreg", covarianse=4.0)
    with pytest.raises(ValueError, match="ibot has no option 'hiden'; it has .*bottleneck.*patch_out"):
        build_method("ibot", "vit-tiny", hiden=4)
    with pytest.raises(ValueError, match="convnet has no option 'heads'; it has convs, depth, first, norm, skips, "
                                         "standardized, widths"):
        build_method("vicreg", backbone_options={"heads": 3})


@pytest.mark.parametrize(("name", "option"), [
    ("vicreg", "covariance"), ("barlow-twins", "lambd"), ("align-uniform", "align"), ("scan", "entropy")])
def test_a_weight_below_zero_is_refused(name, option):
    """It would raise what it should lower."""
    with pytest.raises(ValueError, match=f"{option} is -1.*expect"):
        build_method(name, **{option: -1.0})


def test_a_stage_counted_from_the_last_is_none_below_zero():
    build_method("pixpro", stage=-2)


@pytest.mark.parametrize(("name", "backbone", "option"), [
    ("dino", "vit-tiny", "bottleneck"), ("mae", "vit-tiny", "width"), ("vicreg", "convnet", "width")])
def test_a_head_of_width_zero_is_refused(name, backbone, option):
    with pytest.raises((ValueError, ArithmeticError)):
        build_method(name, backbone, **{option: 0})


def test_a_mistake_inside_a_constructor_is_not_blamed_on_the_options(monkeypatch):
    def broken(self, backbone, image_size=32):
        raise TypeError("unsupported operand")

    monkeypatch.setattr(method_class("vicreg"), "__init__", broken)
    with pytest.raises(TypeError, match="unsupported operand"):
        build_method("vicreg")


def test_a_new_method_is_one_file_and_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "alike.py").write_text(NEW, encoding="utf-8")
    monkeypatch.setattr(contrastive, "__path__", [*contrastive.__path__, str(tmp_path)])
    monkeypatch.setitem(METHODS, "alike", "contrastive.alike:Alike")  # the line

    shapes = ["--data", "shapes", "--limit", "60", "--device", "cpu"]
    assert main(["train", "alike", *shapes, "--steps", "3", "--set", "weight=2", "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run" / "last.pt"), *shapes]) == 0
    assert "alike" in capsys.readouterr().out
    checkpoint = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert (checkpoint["batch_size"], checkpoint["recipe"]["lr"]) == (16, 2e-3), "its recipe is what fit takes"
    assert checkpoint["settings"]["options"]["augment"]["jitter_p"] == 1.0, "the views that suit generated images"
    assert checkpoint["settings"]["options"]["weight"] == 2
