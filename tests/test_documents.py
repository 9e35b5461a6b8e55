"""The glossary is in alphabetical order, and each schedule has each lesson once."""
from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from helpers.lesson_tools import lessons

ROOT = Path(__file__).resolve().parent.parent


def test_the_glossary_has_one_paragraph_for_each_entry_in_alphabetical_order():
    def plain(term: str) -> str:
        return re.sub("[^a-z0-9 ]", "", unicodedata.normalize("NFD", term.lower()))

    title, what, *entries = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8").strip().split("\n\n")
    terms = [re.match(r"\*\*([^*]+)\*\*[^\n]* — ", entry) for entry in entries]
    assert all(terms), [entry[:60] for entry, term in zip(entries, terms) if not term]
    names = [plain(term[1]) for term in terms if term]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert [entry[:60] for entry in entries if re.search(r"\n\*\*[^*\n]+\*\* — ", entry)] == []


@pytest.mark.parametrize("document", ["README.md", "lessons/README.md"])
def test_each_schedule_has_each_weekly_lesson_once(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\]\((?:lessons/)?(\w+)\.ipynb\)", text, re.M)
    weekly = [lesson.stem for lesson in lessons() if lesson.stem[:2].isdigit()]
    assert [name for _, name in rows] == weekly
    assert [int(week) for week, _ in rows] == [int(name[:2]) for name in weekly]
