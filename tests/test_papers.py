"""The reading list: it loads, it is consistent, search finds what it should, and the command prints it."""
from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from course_lib import papers as P
from course_lib.cli import commands


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


def test_imports_nothing_heavy():
    code = ("import sys, course_lib.papers as p; p.load_papers(); "
            "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib', 'pandas')))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
