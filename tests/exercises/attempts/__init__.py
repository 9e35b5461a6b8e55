"""What learners might write: right answers in spellings of their own, and mistakes that nobody planted.

A week's module holds ATTEMPTS: key -> Tries(right bodies, mistakes). A body stands under the lesson's stub. A mistake
is (what it is, body) or (what it is, number of a right body, old text, new text, old, new, ...).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tries:
    right: list[str]
    wrong: list[tuple]

    def bodies(self):
        """(what it is, body, right) of each attempt."""
        for number, body in enumerate(self.right):
            yield f"right answer {number}", body.strip("\n"), True
        for what, *how in self.wrong:
            if len(how) == 1:
                yield what, how[0].strip("\n"), False
                continue
            body, pairs = self.right[how[0]].strip("\n"), how[1:]
            for old, new in zip(pairs[::2], pairs[1::2]):
                assert old in body, (what, old)
                body = body.replace(old, new)
            yield what, body, False
