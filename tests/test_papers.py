"""The reading list: it loads, it is consistent, search finds what it should, and the command prints it."""
from __future__ import annotations

import argparse
import re
import subprocess
import sys

import pytest

from course_lib import papers as P
from course_lib.cli import commands
from course_lib.cli.main import main
from course_lib.files import CHECKOUT
from course_lib.methods import METHODS
from course_lib.runs import reading


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.papers.add_arguments(parser)
    return parser.parse_args(words)


def test_list_is_consistent():
    everything = P.load_papers()
    assert len(everything) == 115 and len({paper.key for paper in everything}) == 115
    for paper in everything:
        assert paper.title and paper.idea and paper.family and 1990 <= paper.year <= 2030
        assert paper.treatment in ("implement", "reproduce small", "read"), paper.key
        assert paper.url.startswith(("https://", "http://"))
        assert not paper.code_url or paper.code_url.startswith("https://")
    assert sum(paper.in_schedule for paper in everything) == 24
    assert {"vicreg", "spark"} <= {paper.key for paper in everything if paper.in_schedule}


def test_every_card_has_a_name_a_sentence_of_what_to_look_at_and_an_equation_where_the_course_has_it():
    everything = P.load_papers()
    assert len({paper.short for paper in everything}) == len(everything)
    for paper in everything:
        assert 2 <= len(paper.short) <= 18 and paper in P.search(paper.short), paper.key
        assert paper.detail.startswith("Look ") and paper.detail.endswith("."), paper.key
        assert len(paper.detail.split()) <= 35 and "\n" not in paper.detail + paper.equation, paper.key
        assert bool(paper.equation) == bool(paper.method or paper.lesson), paper.key
    assert len({paper.detail for paper in everything}) == len(everything)


def test_papers_build_on_older_ones_of_the_list_and_never_in_a_circle():
    by = {paper.key: paper for paper in P.load_papers()}
    for paper in by.values():
        assert len(set(paper.builds_on)) == len(paper.builds_on) and paper.key not in paper.builds_on
        for key in paper.builds_on:
            assert key in by, f"{paper.key} builds on {key}, which is not in the list"
            assert by[key].year <= paper.year, f"{paper.key} builds on {key}, which is younger"

    def walk(key: str, way: tuple[str, ...]):
        assert key not in way, f"a circle: {' -> '.join((*way, key))}"
        for older in by[key].builds_on:
            walk(older, (*way, key))

    for key in by:
        walk(key, ())


def arxiv(paper: P.Paper) -> str:
    return paper.url.rpartition("arxiv.org/abs/")[2]


def test_a_paper_with_a_method_is_named_in_that_methods_file_and_the_other_way_round():
    files = {name: CHECKOUT / "course_lib/methods" / f"{module.partition(':')[0].replace('.', '/')}.py"
             for name, module in METHODS.items()}
    heads = {name: "\n".join(file.read_text(encoding="utf-8").splitlines()[:7]) for name, file in files.items()}
    for paper in P.load_papers():
        if paper.method:
            assert arxiv(paper) in heads[paper.method], paper.key
        elif "arxiv.org" in paper.url:
            named = [name for name, head in heads.items() if arxiv(paper) in head]
            assert not named, f"{paper.key} has a method now: write {named[0]} into the column method of papers.csv"


def test_a_paper_has_a_lesson_that_names_it_and_the_schedules_where_that_has_one():
    schedule = (CHECKOUT / "lessons/README.md").read_text(encoding="utf-8")
    for paper in P.load_papers():
        rows = [row for row in schedule.splitlines() if f"({paper.url})" in row]
        lessons = {name for row in rows for name in re.findall(r"\((\w+)\.ipynb\)", row)}
        assert not lessons or lessons == {paper.lesson}, f"{paper.key}: see the column lesson of papers.csv"
        path = CHECKOUT / f"lessons/{paper.lesson}.ipynb"
        if paper.lesson:
            text = path.read_text(encoding="utf-8")
            assert arxiv(paper) in text if lessons else (arxiv(paper) or paper.url) in text or paper.short in text, (
                f"lesson {paper.lesson} does not name {paper.key}")


def test_every_work_to_implement_or_reproduce_leads_to_file_lesson_stored_run_and_test():
    import json

    from golden.table import TABLE

    with open(reading.MAP, encoding="utf-8", newline="") as file:
        mapped = [line.partition(",")[0] for line in file.read().splitlines()[1:]]
    works = [paper for paper in P.load_papers() if paper.treatment != "read"]
    assert sorted(mapped) == sorted(paper.key for paper in works)
    held = {row.file for row in TABLE}
    for paper in works:
        has = reading.where(paper)
        absent = {name for name, value in has.items() if not value}
        assert not absent, f"{paper.key} has no {absent}: see reading_map.csv, papers.csv"
        for value in has.values():
            assert not value or (CHECKOUT / value).is_file(), f"{paper.key}: there is no {value}"
        if has["test"].startswith("tests/golden/"):
            assert has["test"].rpartition("/")[2] in held, f"{paper.key}: no row of golden/table.py holds {has['test']}"
        else:
            assert "naive" in (CHECKOUT / has["test"]).read_text(encoding="utf-8"), (
                f"{paper.key}: {has['test']} has no naive reference, and no golden numbers hold it")
        if paper.method and has["stored"]:
            record = CHECKOUT / has["stored"].replace(".pt", "-s0.json")
            trained = METHODS[json.loads(record.read_text(encoding="utf-8"))["method"]].partition(":")[0]
            assert trained == METHODS[paper.method].partition(":")[0], f"{paper.key}: {has['stored']} is another's"


def test_search():
    assert [paper.key for paper in P.search("vicreg")] == ["vicreg"]
    assert P.search("VICREG Covariance") == P.search("vicreg")
    assert P.search("momentum zebra") == []
    masked = P.search(family="masked", year="2022-2023")
    assert masked and all(paper.family == "masked" and paper.year in (2022, 2023) for paper in masked)
    assert len(P.search(year=2020)) == 76 == len(P.search(year="2020"))
    assert {paper.treatment for paper in P.search(treatment="reproduce small")} == {"reproduce small"}
    assert len(P.search()) == 115 and P.search("vicreg", papers=masked) == []


@pytest.mark.parametrize("wrong, message", [
    ({"family": "mask"}, "no paper has the family 'mask'; expected one of .*masked"),
    ({"treatment": "skip"}, "no paper has the treatment 'skip'"),
    ({"year": "last"}, "year is 'last'; expected a year"),
])
def test_search_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        P.search(**wrong)


def test_load_refuses_other_columns(tmp_path):
    (tmp_path / "list.csv").write_text("key,title\na,b\n")
    with pytest.raises(ValueError, match="list.csv has the columns"):
        P.load_papers(tmp_path / "list.csv")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_table_keeps_to_its_width(width):
    lines = P.table(P.load_papers(), width).splitlines()
    assert len(lines) == 115 and max(map(len, lines)) <= width
    years = [int(line[:4]) for line in lines]
    assert years == sorted(years)


def test_command(capsys):
    assert commands.papers.run(parsed("masked", "--family", "masked", "--year", "2022")) == 0
    out = capsys.readouterr().out
    assert "BEiT" in out and out.rstrip().endswith("of 115 papers")
    assert commands.papers.run(parsed("vicreg")) == 0
    assert "https://arxiv.org/abs/2105.04906" in capsys.readouterr().out  # a single hit is shown in full
    assert commands.papers.run(parsed("zebra")) == 1
    assert "None of the 115 papers fits" in capsys.readouterr().out


def test_where_it_is(capsys):
    assert main(["papers", "--where", "mochi"]) == 0
    out = capsys.readouterr().out
    for part in ("course_lib/methods/contrastive/mochi.py", "lessons/10_roco.ipynb", "tests/golden/paper_mochi.npz",
                 "lessons/runs/10_negatives/mixed-s0.json"):
        assert part in out
    assert main(["papers", "hyperbolic", "--where"]) == 0 and "28_metric" in capsys.readouterr().out
    assert main(["papers", "--where", "nobody"]) == 2 and "no paper has the key 'nobody'" in capsys.readouterr().err
    assert main(["papers", "--where", "nerf"]) == 0 and "to read: https://" in capsys.readouterr().out


def test_map(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["papers", "--map"]) == 0
    assert "Written: papers.html, 115 papers; open it in a browser" in capsys.readouterr().out
    assert (tmp_path / "papers.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["papers", "negative", "--year", "2020-2021", "--map", "mine.html"]) == 0
    html = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert '"start": {"word": "negative", "family": "", "first": 2020, "last": 2021}' in html


@pytest.mark.parametrize("words, said", [
    (("--map", "falcon"), "expected a file that ends in .html. Words to search for come first: course papers falcon"),
    (("--map", "--ideas"), "leave out --treatment and --ideas"),
    (("--map", "--treatment", "read"), "leave out --treatment and --ideas"),
    (("--map", "--family", "mask"), "no paper has the family 'mask'"),
    (("--map", "--year", "2010"), "no paper is of 2010"),
])
def test_mistakes_about_the_map_are_sentences(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["papers", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not list(tmp_path.iterdir())


def test_imports_nothing_heavy():
    code = ("import sys, course_lib.papers as p; p.load_papers(); "
            "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib', 'pandas')))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
