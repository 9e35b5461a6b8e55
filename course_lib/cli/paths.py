"""Ways through the course: what each lesson needs, by its first cell, and paths for a group, a weekend, practice."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from course_lib.cli.lessons import find_lesson, list_lessons
from course_lib.text import text_table

# whom it is for -> lessons in their order; None: all weeks
PATHS: dict[str, tuple[str, ...] | None] = {
    "weekly group": None,
    "weekend": ("01", "04", "06", "12", "15"),
    "practitioner": ("01", "03", "20", "23", "P1"),
}
SAYS = {
    "weekly group": "a lesson each Monday, in the study group's order",
    "weekend": "the four ideas that the rest varies: contrast, a slow teacher, masks, and both together",
    "practitioner": "measure honestly, know collapse, pick views, transfer, then your own pictures",
}
NEED = re.compile(r"(?:You (?:need|should know)|Everything that you need)[^.]*\.", re.DOTALL)

NUMBER = re.compile(r"(?:lessons?|,|and) (\d\d)(?=[,;.]| \(| and\b)")


def needs(path: Path) -> list[str]:
    """The numbers of the lessons that a lesson builds on, as its first cell says ("You need lesson 04 and ...")."""
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    text = " ".join("".join(first["source"]).split())
    sentence = NEED.search(text)
    told = [part for part in sentence[0].split(";") if "helps" not in part] if sentence else []
    return sorted({number for part in told if "lesson" in part for number in NUMBER.findall(part)})


def graph(folder: Path | None = None) -> dict[str, list[str]]:
    """Number of each lesson -> what it needs, both as "04" or "P1", in the order of the lessons."""
    return {path.stem.split("_")[0]: needs(path) for path in list_lessons(folder)}


def before(number: str, of: dict[str, list[str]]) -> list[str]:
    """All that a lesson needs, also by way of others, in order. ValueError for one that needs itself."""
    found: set[str] = set()
    ahead = list(of[number])
    while ahead:
        one = ahead.pop()
        if one == number:
            raise ValueError(f"lesson {number} needs itself, by way of {', '.join(sorted(found))}")
        if one not in found:
            found.add(one)
            ahead += of.get(one, [])
    return sorted(found)


def ways(of: dict[str, list[str]]) -> dict[str, list[str]]:
    """Each path's lessons that there are."""
    return {name: [n for n in (of if some is None else some) if n in of and (some is not None or n.isdigit())]
            for name, some in PATHS.items()}


def paths_table(of: dict[str, list[str]]) -> str:
    """The paths as a Markdown table: lessons, and what they need that is not on the path."""
    rows = []
    for name, some in ways(of).items():
        apart = sorted({n for lesson in some for n in before(lesson, of)} - set(some))
        lessons = f"{some[0]} to {some[-1]}" if PATHS[name] is None else ", ".join(some)
        rows.append(f"| {name}: {SAYS[name]} | {lessons} | {', '.join(apart) or '—'} |")
    return "\n".join(["| path | lessons | look up, where you need it |", "|---|---|---|", *rows])


def mermaid(of: dict[str, list[str]]) -> str:
    """The prerequisites as a Mermaid graph: arrows to what needs a lesson, without those that follow from others."""
    lines = []
    for number, needed in of.items():
        indirect = {n for one in needed for n in before(one, of)}
        lines += [f"  {one} --> {number}" for one in needed if one not in indirect]
    return "\n".join(["```mermaid", "graph LR", *lines, "```"])


class Paths:
    """Print the ways through the course, or what one lesson needs."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", nargs="?", help="print what this lesson needs (15, ibot, P1)")
        parser.add_argument("--markdown", action="store_true", help="as the READMEs have them")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        of = graph()
        if args.lesson:
            number = find_lesson(args.lesson).stem.split("_")[0]
            print(f"{number} needs {', '.join(of[number]) or 'no other lesson'}"
                  + (f"; in all: {', '.join(before(number, of))}" if before(number, of) != of[number] else ""))
        elif args.markdown:
            print(f"{paths_table(of)}\n\n{mermaid(of)}")
        else:
            rows = [[name, ", ".join(some)] for name, some in ways(of).items()]
            print(text_table([["path", "lessons"], *rows]))
        return 0
