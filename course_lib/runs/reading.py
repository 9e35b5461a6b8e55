"""Where the course has each paper that it implements or reproduces: `reading_map.csv`, beside what papers.csv says."""

from __future__ import annotations

import csv
from pathlib import Path

from course_lib.files import PACKAGE
from course_lib.methods import METHODS
from course_lib.papers import Paper

MAP = PACKAGE / "reading_map.csv"


def where(paper: Paper, path: str | Path = MAP) -> dict[str, str]:
    """Where the course has a paper: "file" of the library, "lesson", "stored" (run or network) and "test", as paths in
    the repository; "" for what there is not (yet). Papers that are only to be read have none of them.
    """
    with open(path, encoding="utf-8", newline="") as file:
        row = next((row for row in csv.DictReader(file) if row["key"] == paper.key), {})
    found = {"file": row.get("file") and f"course_lib/{row['file']}",
             "lesson": paper.lesson and f"lessons/{paper.lesson}.ipynb",
             "stored": row.get("stored") and f"lessons/{row['stored']}",
             "test": row.get("test") and f"tests/{row['test']}"}
    if paper.method:
        found["file"] = f"course_lib/methods/{METHODS[paper.method].partition(':')[0].replace('.', '/')}.py"
    return {name: value or "" for name, value in found.items()}
