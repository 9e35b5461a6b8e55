"""The lint of lessons: `problems(path)` -> sentences, each with the cell's number; an empty list when all is
well.

Numbers in prose: a percentage or a decimal must be computed by a cell, or carry its source in the same
paragraph, list item or table row: `(source: ...)`, a footnote `[^1]`, or a link to arXiv or a DOI. Inline
code, formulas, headings, link targets and arXiv numbers are exempt.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat

from helpers.lesson_tools import WIDGET, checked_names, code_cells, exercise_keys, syntax

FOLDED_LINES, MEGABYTES = 60, 1.5  # of a cell whose code is folded away, where it has not been moved yet
# lessons whose folded cells are held to LONGEST_CELL as well: to become all of them
READABLE = frozenset("01 02 03 04 06 08 11 12 13 16 17 18 19 24 25 26 27 28 A1 A2 P1".split())
# at most so many cells and words before the heading "Further" and after it, and visible lines of code
CORE, FURTHER, CORE_LINES, LONGEST_CELL, LONGEST_LINE = (40, 2000), (20, 1000), 200, 20, 110
SENTENCES = 5  # results stated as `finding`
IMPORTED = ("math", "torch", "nn", "F", "einops", "check", "hints", "solution", "answer")
VIT_LESSONS = {"12", "13", "14", "15", "16"}
HOUSE_WORDS = (
    "otherwise than guessed", "beside the diagonal", "names the class", "named the class", "dearer", "nobody of them",
    "belong into", "accuracy of nought", "two screws", "prototypes at rest", "shall", "lies below", "lie below",
    "where there are stored runs", "if there are stored runs", "so-called", "in the course of",
)
EXERCISES, KNOBS = 3, 3
NOTEBOOK_METADATA = {"kernelspec", "language_info"}
CELL_METADATA = {"tags", "exercise", "jupyter"}
PATHS = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|tmp|work|usr|opt|var|mnt|private|content)/[\w.-]+|\b[A-Z]:\\\\?\w+"
)
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?\s?%|(?<![\w.])\d+\.\d+(?![\w.]*\d)")
SOURCE = re.compile(r"\(source:|\[\^\w+\]|arxiv\.org/|doi\.org/", flags=re.I)
EXEMPT = (
    r"```.*?```",
    r"~~~.*?~~~",
    r"<!--.*?-->",
    r"\$\$.*?\$\$",
    r"\$[^$\n]*\$",
    r"`[^`\n]*`",
    r"^#+ .*$",
    r"\barXiv[: ]*\d{4}\.\d{4,5}(?:v\d+)?",
)
TARGETS = (r"\]\([^)]*\)", r"https?://\S+", r"<[^>]+>")


def problems(path: Path, targets: bool = True) -> list[str]:
    """All that is wrong with a committed lesson. targets=False leaves out the targets of size (for small
    demos)."""
    notebook = nbformat.read(path, as_version=4)
    found = [
        *_format(notebook, path),
        *_cells(notebook, LONGEST_CELL if path.stem.split("_")[0] in READABLE else FOLDED_LINES),
        *_prose(notebook),
        *_figures(notebook),
        *_knobs(notebook),
        *_exercises(notebook),
    ]
    if targets:
        found += _targets(notebook, path.stem)
    return found


def _format(notebook, path: Path) -> list[str]:
    found = []
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        found.append(f"not a valid notebook: {error.message}")
    raw = json.loads(path.read_text(encoding="utf-8"))
    if (raw["nbformat"], raw["nbformat_minor"]) < (4, 5):
        found.append("nbformat below 4.5: cells have no ids")
    ids = [c.get("id") for c in raw["cells"]]
    if None in ids or len(set(ids)) != len(ids):
        found.append("a cell has no id, or two have the same")
    if path.stat().st_size > MEGABYTES * 1e6:
        found.append(f"{path.stat().st_size / 1e6:.2f} MB, more than {MEGABYTES}")
    extra = set(notebook.metadata) - NOTEBOOK_METADATA
    extra |= {"language_info.version"} if "version" in notebook.metadata.get("language_info", {}) else set()
    for index, cell in enumerate(notebook.cells):
        extra |= {f"{name} in cell {index}" for name in set(cell.metadata) - CELL_METADATA}
    return found + [f"metadata that differs between machines or moments: {name}" for name in sorted(extra)]


def _cells(notebook, folded: int) -> list[str]:
    found, expected = [], 1
    for index, cell in enumerate(notebook.cells):
        at = f"cell {index}: "
        if place := PATHS.search(cell.source):
            found.append(f"{at}an absolute path: {place[0]}")
        if cell.cell_type != "code":
            continue
        lines = cell.source.splitlines()
        if len(lines) > (most := folded if hidden(cell) else LONGEST_CELL):
            found.append(f"{at}{len(lines)} lines of code, more than {most}")
        if long := [line for line in lines if len(line) > LONGEST_LINE]:
            found.append(f"{at}a line of {len(long[0])} characters, more than {LONGEST_LINE}")
        try:
            syntax(cell.source)
        except SyntaxError as error:
            found.append(f"{at}{error}")
        if cell.execution_count != expected:
            found.append(
                f"{at}executed as number {cell.execution_count}, expected {expected}: run all, in order"
            )
        expected += 1
        found += [at + problem for problem in _outputs(cell)]
    return found


def _outputs(cell) -> list[str]:
    found = []
    for output in cell.outputs:
        if output.output_type == "error":
            found.append(f"an error output: {output.ename}")
        texts = [output.get("text", "")]
        texts += [
            v for k, v in output.get("data", {}).items() if k.startswith("text/") and isinstance(v, str)
        ]
        for text in texts:
            if place := PATHS.search(text):
                found.append(f"an output names a path: {place[0]}")
            if output.get("name") == "stderr" and re.search(r"\bWarning\b|\w+Warning:", text):
                found.append("a warning in the output")
        if WIDGET in output.get("data", {}):
            found.append("a widget without its kernel in the output (lessons/build.py takes it out)")
    return found


def _prose(notebook) -> list[str]:
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            continue
        text = cell.source
        for pattern in EXEMPT:
            text = re.sub(pattern, " ", text, flags=re.S | re.M)
        for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+|]|\d+\.)\s?)", text):
            if SOURCE.search(block):
                continue
            for pattern in TARGETS:
                block = re.sub(pattern, " ", block)
            block = re.sub(r"^\s*\d+\.\s", "", block)
            found += [
                f"cell {index}: the number {n!r} in prose has no source: compute it, or add (source: ...)"
                for n in NUMBER.findall(block)
            ]
    return found


def _figures(notebook) -> list[str]:
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and any(
            k.startswith("image/") for o in cell.outputs for k in o.get("data", {})
        ):
            after = notebook.cells[index + 1] if index + 1 < len(notebook.cells) else None
            if (
                after is None
                or after.cell_type != "markdown"
                or not after.source.lstrip().startswith("*Figure")
            ):
                found.append(
                    f"cell {index}: a figure without a caption: the next cell must begin with *Figure"
                )
    return found


def _exercises(notebook) -> list[str]:
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        keys, checked = set(exercise_keys(cell)), set(checked_names(syntax(cell.source)))
        if keys != checked:
            found.append(f"cell {index}: metadata exercise={sorted(keys)}, but it checks {sorted(checked)}")
        shown = json.dumps([o.get("data", {}) for o in cell.outputs], ensure_ascii=False)
        if keys and "to do" not in shown:
            found.append(f"cell {index}: the committed stub must show 'to do': is it solved?")
    return found


def hidden(cell) -> bool:
    """Whether a cell's source is folded away."""
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def words(notebook) -> int:
    """Words of prose, without code, formulas, HTML tags and link targets."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = cell.source
            for pattern in (*EXEMPT[:6], *TARGETS):
                text = re.sub(pattern, " ", text, flags=re.S | re.M)
            count += len(re.findall(r"[^\W_][\w'’-]*", text))
    return count


def _knobs(notebook) -> list[str]:
    """Where the text numbers its knobs (### Knob 2: ...), their titles do, from 1 on."""
    told = {int(number) for c in notebook.cells if c.cell_type == "markdown" for numbers in
            re.findall(r"^(?:#+ |\*\*)Knobs? (\d+(?: and \d+)?)", c.source, flags=re.M)
            for number in numbers.split(" and ")}
    code = "\n".join(c.source for c in code_cells(notebook))
    titled = [int(number) for number in re.findall(r'title="Knob (\d+): ', code)]
    found = []
    if titled != list(range(1, len(titled) + 1)):
        found.append(f"knobs are numbered {titled}; expected 1, 2, 3, ... in the order of the cells")
    return found + [f"knob {number} of the text is in no knob's title" for number in sorted(told - set(titled))]


def _targets(notebook, name: str) -> list[str]:
    """What is asked of a lesson as a whole: sizes, explorers, sentences, words, imports, exercises and knobs."""
    cells = notebook.cells
    cut = next((i for i, c in enumerate(cells) if c.cell_type == "markdown"
                and re.search(r"^#+ .*\bFurther\b", c.source, flags=re.M)), len(cells))
    found = []
    for part, some, (most, prose) in (("core", cells[:cut], CORE), ("Further", cells[cut:], FURTHER)):
        told = [cell for cell in some if "facilitator" not in cell.metadata.get("tags", [])]
        count = words(nbformat.v4.new_notebook(cells=told))
        if len(some) > most:
            found.append(f"{part}: {len(some)} cells, more than {most}")
        if count > prose:
            found.append(f"{part}: {count} words, more than {prose}")
    visible = [line for c in code_cells(nbformat.v4.new_notebook(cells=cells[:cut])) if not hidden(c)
               for line in c.source.splitlines() if line.strip()]
    if len(visible) > CORE_LINES:
        found.append(f"core: {len(visible)} visible lines of code, more than {CORE_LINES}")
    for index, cell in enumerate(cells):
        said = cell.source.lower()
        found += [f"cell {index}: says {word!r}" for word in HOUSE_WORDS if re.search(rf"\b{word}\b", said)]
    code = "\n".join(c.source for c in code_cells(notebook))
    week = name[0].isdigit()  # an appendix, A1, has no network to look into
    wanted = ["explore_embedding(", "learned(", "tasks="] if week else ["tasks="]
    wanted += ["explore_attention("] if name[:2] in VIT_LESSONS else []
    found += [f"nowhere {call.rstrip('(=')}" for call in wanted if call not in code]
    if week and not re.search(r"explore_(patches|reconstruction|correspondence|attention)\(", code):
        found.append("no patch pictures: explore_patches, explore_correspondence or explore_reconstruction")
    imports = re.findall(r"^(?:from|import) [^(\n]*(?:\([^)]*\))?.*$", code, flags=re.M)
    names = set(re.findall(r"\w+", "\n".join(imports)))
    found += [f"does not import {name}" for name in IMPORTED if name not in names]
    if (count := len(re.findall(r"\bfinding\(", code))) < SENTENCES:
        found.append(f"{count} results stated as finding(...), fewer than {SENTENCES}")
    found += [f"cell {i}: a claim without a sentence after it" for i, c in enumerate(cells[:-1])
              if c.cell_type == "code" and re.search(r"\bclaim\(", c.source) and "finding(" not in c.source
              and cells[i + 1].cell_type != "markdown"]
    exercises = {k for c in code_cells(notebook) for k in exercise_keys(c)}
    knobs = len(re.findall(r"\bknob\(", code))
    for what, number, least in (("exercises", len(exercises), EXERCISES), ("knobs", knobs, KNOBS)):
        if number < least:
            found.append(f"{number} {what}, fewer than {least}")
    return found
