"""What a learner has done: exercises, guesses and quizzes; in memory, and in progress.json of $COURSE_WORKSPACE if set.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from course_lib.files import write_text

LOCK_SECONDS = 10  # a check holds the file for milliseconds
_MEMORY: dict[str, dict] = {}    # exercises
_ANSWERS: dict[str, dict] = {}   # "guesses" and "quizzes": lesson -> {question: answer}


def path() -> Path | None:
    """Where progress is kept; None without a workspace (then only this kernel remembers)."""
    folder = os.environ.get("COURSE_WORKSPACE", "").strip()
    return Path(folder).expanduser() / "progress.json" if folder else None


def read() -> dict[str, dict]:
    """key -> {"state": last state, "solved": bool, "checks": int, "answer": source of the last right answer or ""}."""
    file = path()
    if file is None:
        return dict(_MEMORY)
    return dict(_load(file).get("exercises", {}))


def record(key: str, state: str, answer: str = "") -> dict:
    """Record one check -> the entry. Once solved stays solved, also in a fresh copy of a lesson.

    Several kernels may check at once: each waits for the others' writing. A full or read-only disk raises nothing:
    memory remembers.
    """
    file = path()
    with _locked(file):
        document = _load(file) if file else {"exercises": _MEMORY}
        exercises = document.setdefault("exercises", {})
        entry = dict(exercises.get(key, {}))
        entry["state"] = state
        entry["checks"] = int(entry.get("checks", 0)) + (state != "todo")
        entry["solved"] = bool(entry.get("solved")) or state == "right"
        if state == "right":
            entry["answer"] = answer
        exercises[key] = _MEMORY[key] = entry
        if file:
            with suppress(OSError):
                write_text(file, json.dumps(document, indent=1, sort_keys=True))
    return entry


def lesson() -> str:
    """The lesson that this kernel runs, "03" or "A1", by the name of its notebook; "" where no server has told it."""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).name.partition(".")[0].partition("_")[0]


def answered(kind: str, question: str) -> Any:
    """What `keep` has kept of this lesson's question, in this kernel or an earlier one; None where nothing is."""
    held = _ANSWERS.get(kind, {}).get(lesson(), {}).get(question)
    if held is None and (file := path()):
        with suppress(AttributeError):  # somebody's own edits
            held = _load(file).get(kind, {}).get(lesson(), {}).get(question)
    return held


def keep(kind: str, question: str, answer: float | str) -> None:
    """Keep an answer to a question of this lesson. kind: "guesses" or "quizzes". A full disk raises nothing."""
    file = path()
    _ANSWERS.setdefault(kind, {}).setdefault(lesson(), {})[question] = answer
    if file is None:
        return
    with _locked(file):
        document = _load(file)
        if not isinstance(document.get(kind), dict) or not isinstance(document[kind].get(lesson(), {}), dict):
            document[kind] = {}
        document[kind].setdefault(lesson(), {})[question] = answer
        with suppress(OSError):
            write_text(file, json.dumps(document, indent=1, sort_keys=True))


@contextmanager
def _locked(file: Path | None):
    """Nobody else on this machine records while this is held; where no lock can be had, nothing is held."""
    if file is None:
        yield
        return
    name = hashlib.blake2b(os.fsencode(os.path.realpath(file)), digest_size=8).hexdigest()
    # not in the workspace, which holds the learner's files only
    lock = FileLock(Path(tempfile.gettempdir()) / f"course-progress-{name}.lock", timeout=LOCK_SECONDS)
    with suppress(OSError):  # filelock's Timeout is one too
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _load(file: Path) -> dict:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        entries = document["exercises"]
        if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
            raise ValueError("not a table of exercises")
        return document
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        with suppress(OSError):  # keep an unreadable file aside and start afresh
            os.replace(file, file.with_suffix(".json.unreadable"))
    return {"version": 1, "exercises": {}}
