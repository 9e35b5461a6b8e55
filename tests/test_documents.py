"""The glossary is in alphabetical order, of words that lessons use; each schedule has each lesson once."""
from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import nbformat
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


def entries_of_the_glossary() -> dict[str, str]:
    """The bold name of each entry -> the rest of it."""
    entries = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8").strip().split("\n\n")[2:]
    return {entry[2:].partition("**")[0]: entry[2:].partition("**")[2] for entry in entries}


def forms(term: str) -> list[str]:
    """"Centring and sharpening" -> its two words; "Collapse, dimensional" -> "dimensional collapse"."""
    words = re.sub(r"\s*\(.*?\)", "", term).lower()
    first, comma, second = words.partition(", ")
    turned = [f"{second} {first}"] if comma and "," not in second else []
    return turned + re.split(r",? and |, ", words)


def test_each_term_of_the_glossary_stands_in_a_lesson():
    texts = [" ".join(c.source for c in nbformat.read(lesson, as_version=4).cells) for lesson in lessons()]
    said = re.sub(r"[\s*-]+", " ", " ".join(texts).lower())
    unused = [term for term in entries_of_the_glossary()
              if not any(form.replace("-", " ") in said for form in forms(term))]
    assert unused == [], "no lesson uses these words: call the entry what lessons call it, or leave it out"


def test_each_bold_word_of_an_entry_has_an_entry_of_its_own():
    entries = entries_of_the_glossary()
    known = {form for term in entries for form in [*forms(term), term.lower()]}
    for term, text in entries.items():
        for word in re.findall(r"\*\*([^*]+)\*\*", " ".join(text.split())):
            word = word.lower()
            assert {word, word.removesuffix("s"), word.removesuffix("es"), f"{word}s"} & known, f"{term}: {word}"


@pytest.mark.parametrize("document", ["README.md", "lessons/README.md"])
def test_each_schedule_has_each_weekly_lesson_once(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\]\((?:lessons/)?(\w+)\.ipynb\)", text, re.M)
    weekly = [lesson.stem for lesson in lessons() if lesson.stem[:2].isdigit()]
    assert [name for _, name in rows] == weekly
    assert [int(week) for week, _ in rows] == [int(name[:2]) for name in weekly]
