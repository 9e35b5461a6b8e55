"""The command line, called as a user types it."""

from __future__ import annotations

from course_lib.cli.main import main


def course(*words) -> int:
    return main([str(word) for word in words])
