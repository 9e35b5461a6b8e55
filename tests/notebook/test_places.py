"""The data behind the places of a page: they are what the networks themselves say, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.evaluate.attention import rollout
from course_lib.notebook import places as module
from course_lib.notebook.places import places
from helpers.tiny import ibot, images, vicreg

NAMES = ("a", "b", "c")


def array(part: dict, key: str, *shape: int) -> np.ndarray:
    return np.frombuffer(part[key], np.uint8).reshape(shape)


def test_pixels_and_cosines_and_colours_are_those_of_the_network():
    pictures = images(3).images
    data, notes = places(vicreg().eval(), pictures, NAMES)
    assert not notes and data["attention"] is None and data["names"] == list(NAMES)
    assert np.array_equal(array(data, "pixels", 3, 16, 16, 3), pictures.permute(0, 2, 3, 1).numpy())
    network = vicreg().eval().backbone
    for stage, part in enumerate(data["stages"]):
        g = part["side"]
        with torch.no_grad():
            found = network.stages(standardize(pictures))[stage].flatten(2).transpose(1, 2)
        found = found - found.mean((0, 1))
        cosines = torch.cosine_similarity(found[1, 2, None], found[1], dim=-1).clamp_min(0)
        assert np.abs(array(part, "alike", 3, g * g, g * g)[1, 2] / 255 - cosines.numpy()).max() < 0.01
        assert array(part, "colours", 3, g, g, 3).std() > 20 and len(part["variance"]) == 3


def test_attention_is_scaled_by_each_querys_largest_and_keeps_the_class_tokens_share():
    method, pictures = ibot().eval(), images(3).images
    data = places(method, pictures, NAMES)[0]
    attention, network = data["attention"], method.evaluated
    layers, heads, T = len(network.blocks), network.blocks[0].attn.heads, 1 + data["stages"][0]["side"] ** 2
    found = array(attention, "weights", 3, layers, heads + 2, T, T)
    assert attention["layers"] == list(range(1, layers + 1)) and len(attention["heads"]) == heads + 2
    maps = network.attention(standardize(pictures[2:]))
    row = maps[-1, 0, 1, 3]
    assert found[2, -1, 1, 3, 0] == round(100 * float(row[0]))
    others = row[1:].clone()
    others[2] = 0
    wanted = (row[1:] / others.max()).clamp(max=1)
    assert np.abs(found[2, -1, 1, 3, 1:] / 255 - wanted.numpy()).max() < 0.01
    flow = rollout(maps)[0, 0, 1:]
    assert np.abs(found[2, -1, -1, 0, 1:] / 255 - (flow / flow.max()).numpy()).max() < 0.01


def test_what_does_not_fit_is_cut_and_said(monkeypatch):
    pictures, method = images(3).images, ibot().eval()
    one = len(places(method, pictures[:1], NAMES)[0]["attention"]["weights"])
    monkeypatch.setattr(module, "BUDGET", int(1.1 * one))
    data, notes = places(method, pictures, NAMES)
    assert data["attention"]["layers"] == [len(method.evaluated.blocks)]
    assert any("of the last 1 of" in note for note in notes)
    assert len(data["names"]) * len(data["attention"]["heads"]) * 17**2 == len(data["attention"]["weights"])
    monkeypatch.setattr(module, "BUDGET", 100)
    with pytest.raises(ValueError, match="too many for a page"):
        places(method, pictures, NAMES)


def test_what_has_no_places_is_a_sentence():
    with pytest.raises(ValueError, match="Linear has no patches"):
        places(torch.nn.Linear(2, 2), images(1).images, NAMES)
    with pytest.raises(ValueError, match="cannot be cut into patches of 4"):
        places(ibot(), images(1).images[..., :14, :14], NAMES)
