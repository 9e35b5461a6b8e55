"""Which exercises are done: in memory, and in progress.json of $COURSE_WORKSPACE where that is set."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

_MEMORY: dict[str, dict] = {}


def path() -> Path | None:
    """Where progress is kept, or None when no workspace is set (then only this kernel remembers)."""
    folder = os.environ.get("COURSE_WORKSPACE", "").strip()
    return Path(folder).expanduser() / "progress.json" if folder else None


def read() -> dict[str, dict]:
    """key -> {"state": last state, "solved": bool, "checks": int, "answer": source of the last right answer
    or ""}."""
    file = path()
    if file is None:
        return dict(_MEMORY)
    return dict(_load(file).get("exercises", {}))


def record(key: str, state: str, answer: str = "") -> dict:
    """Note one check. Solved once stays solved: a fresh copy of a lesson takes nothing away. Returns the
    entry.

    Never raises for a full or read-only disk: a lesson must go on, and memory remembers.
    """
    file = path()
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
        try:
            _save(file, document)
        except OSError:
            pass
    return entry


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
        try:  # keep what can't be read, so that nothing is lost by starting afresh
            os.replace(file, file.with_suffix(".json.unreadable"))
        except OSError:
            pass
    return {"version": 1, "exercises": {}}


def _save(file: Path, document: dict) -> None:
    # Written beside and renamed: a kernel that is killed here leaves the old file whole.
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".progress-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1, sort_keys=True)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
