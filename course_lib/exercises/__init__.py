"""Exercises that say what is wrong. In a lesson: `from course_lib.exercises import check, hints, solution,
progress, quiz`."""

from .engine import (
    Exercise,
    all_exercises,
    answer,
    check,
    exercise,
    hints,
    progress,
    reference,
    register,
    solution,
    states,
)
from .grading import grade
from .quiz import Quiz, quiz

__all__ = [
    "Exercise",
    "Quiz",
    "all_exercises",
    "answer",
    "check",
    "exercise",
    "grade",
    "hints",
    "progress",
    "quiz",
    "reference",
    "register",
    "solution",
    "states",
]
