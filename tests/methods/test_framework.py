"""The framework: each paper's five choices equal its own file, values and gradients; other sets work or say why not."""

from __future__ import annotations

import itertools

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.information.amdim import nce
from course_lib.methods.information.extraction import Compared
from course_lib.methods.information.framework import ASPECTS, PAPERS, contrast, cosine, losses, once, paper_of
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL_NET = {"depth": 2, "widths": (4, 8)}
OWN = {"AMDIM": ("amdim", {}), "CPC v2": ("cpc", {}), "SimCLR": ("simclr", {}),
       "MoCo v2": ("moco-v2", {"queue": 24, "splits": 1, "temperature": 0.2, "momentum": 0.9}),
       "BYOL": ("byol", {"momentum": 0.9}), "SimSiam": ("simsiam", {}), "YADIM": ("yadim", {})}


def framework(*choices, seed=0, norm="batch", **options):
    torch.manual_seed(seed)
    return build_method("framework", "convnet", 16, backbone_options={**SMALL_NET, "norm": norm},
                        **dict(zip(ASPECTS, choices)), **{"queue": 24, "momentum": 0.9, **options})


def pair(name):
    """A method from its own file, and the framework with its choices and its weights."""
    method, options = OWN[name]
    torch.manual_seed(1)
    own = build_method(method, "convnet", 16, backbone_options=SMALL_NET, **options)
    ours = framework(*PAPERS[name], norm="layer" if name == "CPC v2" else "batch")
    twins = {"backbone": own.backbone}
    for theirs, place in (("scales", "read"), ("head", "read.head"), ("projector", "read.head"),
                          ("predictor", "predictor"), ("predictors", "predictors"), ("queue", "queue")):
        if hasattr(own, theirs):
            twins[place] = getattr(own, theirs)
    for copy in ("keys", "target"):
        if hasattr(own, copy):
            twins |= {"copy.module.backbone": getattr(own, copy).module[0],
                      "copy.module.read.head": getattr(own, copy).module[1]}
    for place, module in twins.items():
        ours.get_submodule(place).load_state_dict(module.state_dict())
    found = {f"{place}.{key}" for place, module in twins.items() for key in module.state_dict()}
    assert found == set(ours.state_dict()), "nothing has other weights"
    return own, ours, {place: module for place, module in twins.items() if not place.startswith("copy")}


def both_views(name, own, ours, seed=0):
    batch = Batch(images(8).images, torch.arange(8), None)
    first, second = (torch.Generator().manual_seed(seed) for _ in range(2))
    if name == "MoCo v2":
        torch.randperm(8, generator=second)  # own draws the order of the keys' batch first
    a, b = own.views(batch, first), ours.views(batch, second)
    return a, b


@pytest.mark.parametrize("name", PAPERS)
def test_the_choices_of_a_paper_are_its_own_file(name):
    """Views, loss and gradients, in two steps of SGD with what follows an update."""
    own, ours, twins = pair(name)
    assert paper_of(*ours.choices) == name
    for step in range(2):
        a, b = both_views(name, own, ours, step)
        for x, y in zip([a] if name == "CPC v2" else a[:2], b[:-1], strict=True):
            assert torch.equal(x, y)
        wanted, got = own.loss(a), ours.loss(b)
        torch.testing.assert_close(got["loss"], wanted["loss"])
        for method, parts in ((own, wanted), (ours, got)):
            method.zero_grad()
            parts["loss"].backward()
        for place, module in twins.items():
            for (key, p), q in zip(module.named_parameters(), ours.get_submodule(place).parameters()):
                if p.grad is None:
                    assert q.grad is None
                    continue
                torch.testing.assert_close(q.grad, p.grad, atol=1e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")
        for method in (own, ours):
            with torch.no_grad():
                for p in method.parameters():
                    if p.grad is not None:
                        p -= 0.05 * p.grad
            method.after_update(0.5)
    for place, module in twins.items():
        for key, tensor in module.state_dict().items():
            torch.testing.assert_close(ours.get_submodule(place).state_dict()[key], tensor, atol=1e-5, rtol=1e-3)


def test_no_other_set_has_a_name():
    named = [paper_of(*choices) for choices in itertools.product(*ASPECTS.values())]
    assert sorted(name for name in named if name) == sorted(PAPERS)


@pytest.mark.parametrize("extraction", ASPECTS["extraction"])
@pytest.mark.parametrize("encoder", ASPECTS["encoder"])
def test_any_loss_and_similarity_go_with_any_extraction(encoder, extraction):
    method = framework("amdim", encoder, extraction, "cosine", "nce")
    views = method.views(Batch(images(6).images, torch.arange(6), None), torch.Generator().manual_seed(0))
    for similarity, loss in itertools.product(ASPECTS["similarity"], ASPECTS["loss"]):
        torch.manual_seed(0)
        method = framework("amdim", encoder, extraction, similarity, loss)
        parts = method.loss(views)
        parts["loss"].backward()
        assert parts["loss"].isfinite() and parts["embedding"].ndim == 2
        assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.backbone.parameters())
        assert encoder == "one" or all(p.grad is None for p in method.copy.parameters())


def test_a_composition_is_its_parts():
    """Two images, vectors given: SimCLR's and BYOL's rows of the table by hand."""
    z = [randn(3, 4), randn(3, 4, seed=1)]

    def extract(online, target, views):
        eye = torch.eye(3, dtype=torch.bool)
        yield Compared(online(views[0]), target(views[1]), eye, ~eye, 2.0)

    parts = contrast(z, (lambda v: v, lambda v: 3 * v), extract, lambda a, c: a @ c.T, nce)
    scores = 3 * z[0] @ z[1].T
    torch.testing.assert_close(parts["loss"], 2 * torch.nn.functional.cross_entropy(scores, torch.arange(3)))
    torch.testing.assert_close(parts["embedding"], normalize(z[0]))
    eye = torch.eye(3, dtype=torch.bool)
    distance = (normalize(z[0]) - normalize(z[1])).square().sum(1).mean()
    torch.testing.assert_close(losses()["distance"](cosine(*z), eye, ~eye), 2 * distance)


def test_once_encodes_a_view_once():
    calls = []
    encode = once(lambda view: calls.append(1) or view * 2)
    a, b = torch.ones(1), torch.ones(1)
    assert encode(a) is encode(a) and encode(b) is not encode(a) and len(calls) == 2


def test_what_does_not_go_together_is_a_sentence():
    for choices, says in ((("amdims",), "augmentation is 'amdims'; expected one of simclr, moco, byol, amdim, cpc"),
                          (("cpc", "one", "queue"), "augmentation 'cpc' gives one view, and extraction 'queue'"),
                          (("amdim", "two"), "encoder is 'two'; expected one of one, momentum")):
        with pytest.raises(ValueError, match=says):
            framework(*choices)
    with pytest.raises(ValueError, match="'rows below' predicts 3 rows further down, and the last map is 2x2"):
        build_method("framework", "convnet", 16, extraction="rows below")
    with pytest.raises(ValueError, match="extraction 'last map' needs feature maps, ViT has none"):
        build_method("framework", "vit-tiny", 16)
    assert build_method("framework", "vit-tiny", 16, extraction="projection").choices[2] == "projection"
    with pytest.raises(ValueError, match="needs two or more, got 1"):
        method = framework()
        method.loss(method.views(Batch(images(1).images, torch.arange(1), None), torch.Generator()))


@pytest.mark.parametrize("name", ["MoCo v2", "BYOL"])
def test_resume_is_bit_exact(name, tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = framework(*PAPERS[name]), framework(*PAPERS[name], seed=7)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(framework(*PAPERS[name]), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


def test_yadim_s_batch_norm_is_the_same_here():
    torch.manual_seed(1)
    own = build_method("yadim", "convnet", 16, backbone_options=SMALL_NET, norm=True)
    ours = build_method("framework", "convnet", 16, backbone_options=SMALL_NET, norm=True)
    ours.backbone.load_state_dict(own.backbone.state_dict())
    a, b = both_views("YADIM", own, ours)
    torch.testing.assert_close(ours.loss(b)["loss"], own.loss(a)["loss"])
    with torch.no_grad():
        assert own.maps(a[0])[0].mean((0, 2, 3)).abs().max() < 1e-5, "no direction that all places share"


def test_a_queue_longer_than_the_set_is_told_as_by_moco():
    with pytest.warns(UserWarning, match="queue is 24, but there are 20 images"):
        framework(*PAPERS["MoCo v2"]).prepare(images(20).images)
    framework(*PAPERS["YADIM"]).prepare(images(20).images)
