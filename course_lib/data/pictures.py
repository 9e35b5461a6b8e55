"""Some pictures to look at, as they come: one file, a few, or a folder; nothing is split or kept in a cache."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from course_lib.data.images import DataError, ImageSet
from course_lib.data.photo import bits_used, decode_photo, failure_reason
from course_lib.data.splits import FolderReport, dark_note, plan_splits, shown, walk

LARGEST = 512  # pixels along a side that a command may ask for


def open_pictures(paths: Sequence[str | os.PathLike], size: int, most: int,
                  depth: int = 16) -> tuple[ImageSet, list[str]]:
    """Pictures as squares of `size` pixels, and sentences about what was left out.

    paths: one folder, or one or more files. Sub-folders are classes, as `load_folder` reads them. A folder with more
    than `most` pictures gives every second, third, ... of them, in the order of their names. `names` of the ImageSet
    are the files', inside the folder. depth: see `load_folder`. Raises DataError where there is no path, or nothing to
    read.
    """
    places = [Path(path).expanduser() for path in paths]
    for place in places:
        if not place.exists():
            raise DataError(f"There is no file or folder {shown(place)}: give a picture, or a folder of pictures.")
    folders = [place for place in places if place.is_dir()]
    if folders and len(places) > 1:
        raise DataError(f"{shown(folders[0])} is a folder: give one folder alone, or one or more pictures.")
    root, report = (folders or [places[0].parent])[0], FolderReport(places[0])
    files = [name for name, *_ in sorted(walk(root, report))] if folders else [str(place) for place in places]
    plan = plan_splits(files, 0, report) if folders else None
    groups = plan.groups if plan else [""] * len(files)
    used = [i for i in range(len(files)) if not plan or plan.splits[i]]
    notes = [] if len(used) <= most else [f"{most:,} of the {len(used):,} pictures are shown, spread over the folder."]
    some = np.unique(np.linspace(0, max(0, len(used) - 1), min(most, len(used))).round().astype(int))
    pixels, kept, bits = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about single files
        for i in (used[place] for place in some):
            try:
                path = root / files[i] if folders else files[i]
                photo = decode_photo(path, size, depth)
                bits.append(bits_used(path, photo) if depth == 16 else 0)
                pixels.append(photo)
                kept.append(i)
            except Exception as error:  # a broken file may make a decoder raise anything
                report.skipped.append((files[i], failure_reason(error)))
    if not pixels:
        why = "; ".join(f"{shown(name)}: {reason}" for name, reason in report.skipped[:4])
        raise DataError(f"No picture could be read from {shown(places[0])}: JPEG, PNG and WebP files are. "
                        f"{f'Left out: {why}.' if why else 'There are none in it.'}")
    if report.skipped:
        left = [f"{shown(name)} ({reason})" for name, reason in report.skipped]
        notes.append(f"Left out: {', '.join(left[:4])}{f' and {len(left) - 4:,} more' if len(left) > 4 else ''}.")
    classes = tuple(sorted({groups[i] for i in kept}))
    labels = torch.tensor([classes.index(groups[i]) for i in kept]) if "" not in classes else None
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    names = tuple(shown(files[i] if folders else Path(files[i]).name) for i in kept)
    notes += dark_note(bits, names)
    name = shown(Path(os.path.abspath(places[0])).name)  # also of "."
    return ImageSet(images, labels, classes if labels is not None else (), name=name, names=names), notes
