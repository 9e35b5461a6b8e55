"""Exercises that say what is wrong. In a lesson: `from course_lib.exercises import check, hints, solution, quiz`."""

from course_lib.exercises.engine import (
    all_exercises, answer, check, exercise, hints, progress, quizzes, reference, register, solution, states,
)
from course_lib.exercises.grading import grade
from course_lib.exercises.questions import Quiz, quiz
from course_lib.exercises.spec import Exercise
from course_lib.notebook import store

__all__ = [
    "Exercise", "Quiz", "all_exercises", "answer", "check", "exercise", "grade", "hints", "progress", "quiz", "quizzes",
    "reference", "register", "solution", "states", "store",
]
