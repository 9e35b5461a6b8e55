"""A folder's pictures, with the split and class of each from the names alone (see `folder`)."""
from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.data.photo import ENDINGS
from course_lib.text import counted

SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
                 "validation": "validation", "test": "test", "testing": "test",
                 "unlabelled": "unlabelled", "unlabeled": "unlabelled"}
NO_READER = (".tif", ".tiff", ".npy", ".npz", ".mat", ".h5", ".dcm", ".nii", ".gz", ".heic", ".avif", ".jp2", ".exr",
             ".dng")       # pictures all the same, often of more channels
QUIET = ("thumbs.db", "desktop.ini", "__macosx")        # left by file managers, like .names
MENDABLE = "no reader for"        # starts the reason of pictures that can be saved as others


@dataclass
class FolderReport:
    """What became of the files of a folder.

    found: files named like a JPEG, PNG or WebP file. used: those that became images.
    skipped: (relative name, reason) of each skipped file or sub-folder. notes: sentences about the whole folder.
    cached: whether the images came from the cache on disk.
    """
    path: Path
    found: int = 0
    used: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cached: bool = False

    def summary(self, lines: int = 10) -> str:
        """At most `lines` lines: the counts, the skipped files by reason, and the notes."""
        text = [f"{shown(self.path)}: {self.used:,} of {self.found:,} pictures read"
                + (" (from the cache)" if self.cached else "")
                + (f", {len(self.skipped):,} files left out:" if self.skipped else ".")]
        reasons = Counter(reason for _, reason in self.skipped).most_common()
        reasons.sort(key=lambda pair: not pair[0].startswith(MENDABLE))  # first, as there is something to do
        for reason, count in reasons:
            names = [shown(name) for name, why in self.skipped if why == reason][:4]
            rest = f" ... and {count - len(names):,} more" if count > len(names) else ""
            text.append(f"  {reason}: {', '.join(names)}{rest}")
        room = max(lines - len(self.notes), 2)
        if len(text) > room:
            text[room - 1:] = [f"  ... and {len(text) - room + 1} more reasons"]
        return "\n".join((text + self.notes)[:lines])


def dark_note(bits: Sequence[int], names: Sequence[str]) -> list[str]:
    """A sentence where pictures of 16 bits use fewer, and so are nearly black. bits: `photo.bits_used` of each."""
    used = max(bits)
    if not 0 < used < 16:
        return []
    return [f"{counted(sum(each > 0 for each in bits), 'picture')} nearly black, with {used} of 16 bits used, such as "
            f"{shown(names[bits.index(used)])}: depth={max(used, 8)} (--depth {max(used, 8)}) makes "
            f"{2 ** max(used, 8) - 1:,} white. Of 16-bit colour only the upper 8 bits can be read."]


def walk(root: Path, report: FolderReport) -> list[tuple[str, int, int, int]]:
    """(relative name with /, bytes, time in ns, permission) of each file that may be a picture."""
    files: list[tuple[str, int, int, int]] = []
    empty: list[str] = []

    def visit(folder: str, prefix: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in above:
            report.skipped.append((prefix.rstrip("/"), "a link to a folder above it"))
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            report.skipped.append((prefix.rstrip("/") or ".", f"folder cannot be opened ({error.strerror})"))
            return
        if prefix and all(entry.name.startswith(".") for entry in entries):
            empty.append(shown(prefix.rstrip("/")))
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith(".") or entry.name.lower() in QUIET:
                continue
            try:
                facts = entry.stat()
            except OSError:
                report.skipped.append((name, "broken link" if entry.is_symlink() else "cannot be opened"))
                continue
            if stat.S_ISDIR(facts.st_mode):
                visit(entry.path, name + "/", (*above, real))
            elif not name.lower().endswith(ENDINGS):
                ending = Path(name.lower()).suffix
                report.skipped.append((name, f"{MENDABLE} {ending}: save it as PNG, of 1 or 3 channels"
                                       if ending in NO_READER else "not a JPEG, PNG or WebP file"))
            elif not stat.S_ISREG(facts.st_mode):
                report.skipped.append((name, "not a regular file"))
            else:
                files.append((name, facts.st_size, facts.st_mtime_ns, stat.S_IMODE(facts.st_mode)))

    visit(str(root), "", ())
    if empty:
        report.notes.append(f"Empty sub-folders, which make no class: {', '.join(empty[:5])}"
                            + (f" and {len(empty) - 5:,} more" if len(empty) > 5 else ""))
    return files


@dataclass
class Plan:
    splits: list[str]           # of each file; "" if it is skipped
    groups: list[str]           # its class; "" if its split has no labels
    classes: tuple[str, ...]


def plan_splits(names: list[str], seed: int, report: FolderReport) -> Plan:
    """The split and class of each file, from the names alone."""
    tops = {name.split("/")[0] for name in names if "/" in name}
    given = {top: SPLIT_FOLDERS[top.lower()] for top in tops if top.lower() in SPLIT_FOLDERS}
    if given and "train" not in given.values():
        report.notes.append("There is no train/ folder, so these are read as classes: "
                            + ", ".join(sorted(given)))
        given = {}
    parts = []                              # (split folder's split or "", name inside it)
    for name in names:
        top, _, inside = name.partition("/")
        parts.append((given[top], inside) if top in given and inside else ("", name))
    spelled: dict[str, str] = {}            # of two ways to write an accent, the first makes the class

    def class_of(rest: str) -> str:
        group = rest.split("/")[0]
        return spelled.setdefault(unicodedata.normalize("NFC", group), group)

    labelled, lone = {}, {}
    for origin in sorted(set(given.values())) or [""]:
        inside = [rest for split, rest in parts if split == origin]
        found = {class_of(rest) for rest in inside if "/" in rest}
        labelled[origin] = bool(found) and origin != "unlabelled"
        if not given and len(found) == 1 and all("/" in rest for rest in inside):
            labelled[origin], lone = False, found
    if lone:
        report.notes.append(f"There is one sub-folder only ({shown(*lone)}), so nothing to tell apart: read "
                            "without labels. If the classes are inside it, give its path.")
    missing = {"validation", "test"} - set(given.values())
    splits, groups = [], []
    for name, (origin, rest) in zip(names, parts):
        group = class_of(rest) if "/" in rest and labelled.get(origin) else ""
        reason = ""
        if given and not origin:
            reason = "beside train/, not inside it"
        elif labelled.get(origin) and not group:
            reason = "beside the class folders, not inside one"
        if reason:
            report.skipped.append((name, reason))
        splits.append("" if reason else split_of(rest, origin, missing, seed))
        groups.append(group)
    for split in ("validation", "test"):
        strange = ({group for s, group in zip(splits, groups) if s == split and group}
                   - {group for s, group in zip(splits, groups) if s == "train"})
        if strange and labelled.get("train" if given else ""):
            some = ", ".join(shown(group) for group in sorted(strange)[:5])
            report.notes.append(f"Classes with pictures in {split} and none in train: {some}"
                                + (", ..." if len(strange) > 5 else ""))
    if len({labelled[split] for split in labelled if split != "unlabelled"}) > 1:
        report.notes.append("No labels (no class folders) in: "
                            + ", ".join(sorted(s for s in labelled if not labelled[s] and s != "unlabelled")))
    return Plan(splits, groups, tuple(sorted(set(groups) - {""})))


def split_of(name: str, origin: str, missing: set[str], seed: int) -> str:
    """A file's split; stable under adding files, moving the folder, and the system's form of accents (NFC)."""
    if origin not in ("", "train"):
        return origin
    text = f"{seed}\0{unicodedata.normalize('NFC', name)}".encode("utf-8", "surrogateescape")
    place = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2 ** 64
    split = "train" if place < 0.8 else "validation" if place < 0.9 else "test"
    return split if split in missing else "train"


def shown(name: str | os.PathLike) -> str:
    """The file name in characters that any terminal can print."""
    text = os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)
