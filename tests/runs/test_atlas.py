"""The stored atlas: complete, of the networks that there are, and what they give today."""

from __future__ import annotations

import pytest
import torch

from course_lib.data import load
from course_lib.evaluate import embed
from course_lib.evaluate.cka import debiased_cka, linear_cka
from course_lib.files import CHECKOUT
from course_lib.notebook.atlas import explore_networks
from course_lib.notebook.papers_map import FAMILIES
from course_lib.papers import load_papers
from course_lib.runs import atlas as A
from course_lib.runs.networks import learned, networks_folder
from helpers.draws import randn

ATLAS = A.read_atlas()
LEARNED = ATLAS.select(kinds=("learned",))
LISTED = {paper.method for paper in load_papers()} | set(A.BESIDE)  # methods that have a family


def test_its_rows_are_what_they_say():
    names = [entry.name for entry in ATLAS.entries]
    assert len(names) == len(set(names)) <= 70 and {entry.kind for entry in ATLAS.entries} == set(A.KINDS)
    for entry in LEARNED.entries:
        assert (networks_folder() / f"shapes-{entry.name}.pt").exists()
        record = learned(entry.name).record.scores[0]
        assert entry.knn == record["knn"] and entry.factors == record["factors"]
        assert entry.family in FAMILIES if entry.method in LISTED else entry.family == ""
        assert (CHECKOUT / f"lessons/{entry.lesson}.ipynb").is_file()
    assert all(entry.factors for entry in ATLAS.entries if entry.kind != "cause")


def test_its_tables_are_similarities():
    light = ATLAS.at("lighting")
    others = torch.tensor([i for i in range(len(ATLAS.entries)) if i != light])
    for measure in A.MEASURES:
        table = ATLAS.table(measure)
        table = table[others][:, others] if "lighting" in measure else table
        assert table.isfinite().all() and torch.allclose(table, table.T, atol=1e-5)
        assert torch.allclose(table.diagonal(), torch.ones(len(table)), atol=1e-5)
        assert -0.1 < table.min() and table.max() < 1.001
    assert ATLAS.table("linear CKA").min() >= 0


@pytest.mark.slow
def test_the_networks_still_give_what_is_stored(one_thread):
    test = load("shapes").test
    panel = test.select(torch.linspace(0, len(test) - 1, 500).round().long())
    x, y = (embed(learned(name).method, panel).double() for name in ("vicreg", "mae"))
    assert ATLAS.alike("vicreg", "mae", "linear CKA") == pytest.approx(float(linear_cka(x, y)), abs=2e-3)
    assert ATLAS.alike("vicreg", "mae") == pytest.approx(float(debiased_cka(x, y)), abs=2e-3)


def test_what_is_written_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    light, features = randn(20), [randn(20, 3), randn(20, 4, seed=1)]
    rows = [{"name": name, "kind": "cause", "method": "", "encoder": "none", "seed": 0, "colour": False, "knn": 0.5,
             "factors": {}} for name in ("hue", "size", "lighting")]
    A.write_atlas(rows, [*features, light[:, None]], light)
    atlas = A.read_atlas()
    assert [entry.name for entry in atlas.entries] == ["hue", "size", "lighting"]
    assert atlas.alike("hue", "size", "linear CKA") == pytest.approx(float(linear_cka(*features)), abs=1e-5)
    powers = torch.stack([light, light**2, light**3, torch.ones(20)], dim=1).double()
    left = [x - powers @ torch.linalg.pinv(powers) @ x for x in (y.double() for y in features)]
    unlit = atlas.alike("hue", "size", "debiased, lighting taken out")
    assert unlit == pytest.approx(float(debiased_cka(*left)), abs=1e-5)
    assert atlas.unlit[2].isnan().all()


def test_parts_neighbours_and_groups():
    convs = LEARNED.select(lambda entry: entry.encoder == "conv net")
    assert 5 < len(convs.entries) < len(LEARNED.entries) and len(convs.debiased) == len(convs.entries)
    near = LEARNED.nearest("simclr", 4)
    assert len(near) == 4 and "simclr" not in dict(near) and near[0][1] >= near[1][1] == pytest.approx(
        LEARNED.alike("simclr", near[1][0]))
    assert LEARNED.groups(lambda entry: entry.encoder).unique().tolist() == [0, 1, 2]
    assert LEARNED.read("class").shape == (len(LEARNED.entries),) and ATLAS.read("class").isnan().any()


def test_what_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no kind 'best'"):
        ATLAS.select(kinds=("best",))
    with pytest.raises(ValueError, match="no representation of the atlas fits"):
        ATLAS.select(lambda entry: False)
    with pytest.raises(ValueError, match="'simclr2' is not in the atlas"):
        ATLAS.at("simclr2")
    with pytest.raises(ValueError, match="there is no measure 'cosine'"):
        ATLAS.table("cosine")
    with pytest.raises(FileNotFoundError, match=r"python lessons/grids/atlas\.py"):
        A.read_atlas(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="colour is 'week'; expected family, encoder, class"):
        explore_networks(LEARNED, colour="week")


def test_the_map_holds_what_its_cards_show():
    made = explore_networks(ATLAS.select(kinds=("learned", "untrained", "pixels")), colour="hue", near=3)
    cards = {network["name"]: network for network in made.data["networks"]}
    assert cards["byol"]["lesson"] == "06_byol" and len(cards["byol"]["near"]) == 3
    assert cards["raw pixels"]["lesson"] == "" and cards["raw pixels"]["knn"] > 0.3
    assert set(made.data["causes"]) == set(cards["byol"]["read"]) and made.data["colour"] == "hue"
    links = made.links()
    assert links.count("<a href=") == len(LEARNED.entries) and "href='06_byol.ipynb'" in links
    assert made.figure(names=False) is not None and "NetworksMap of" in repr(made)


def test_every_grouping_parts_the_networks():
    for name, by in A.GROUPINGS.items():
        assert 1 < len(LEARNED.groups(by).unique()) < len(LEARNED.entries), name
    entry = LEARNED.entries[LEARNED.at("mae")]
    assert A.GROUPINGS["encoder"](entry) == "ViT" and A.GROUPINGS["initial letter"](entry) == "M"
