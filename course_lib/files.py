"""The course's folders, and atomic writes: a file appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent  # the course's repository, unless the package is installed elsewhere


class WriteError(OSError):
    """A file could not be written; the previous one is untouched. `reason` is the operating system's."""

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason


# ------------------------------------------------------------------------------------------------ places
def lessons_folder() -> Path:
    """The course's own `lessons/` next to this package. Raises FileNotFoundError without it."""
    folder = CHECKOUT / "lessons"
    if not folder.is_dir():
        raise FileNotFoundError(f"There are no lessons at {folder}: this course_lib was installed without "
                                "them. Clone the course's repository and start its course.py there.")
    return folder


def workspace_folder(workspace: str | Path | None = None) -> Path:
    """The learner's folder: the argument, else $COURSE_WORKSPACE, else `my_lessons` next to `lessons`."""
    chosen = workspace or os.environ.get("COURSE_WORKSPACE")
    return Path(chosen).expanduser().resolve() if chosen else lessons_folder().parent / "my_lessons"


def data_root(path: str | os.PathLike | None = None) -> Path:
    """The folder for all data: `path`, else $COURSE_DATA, else a per-user cache folder. Does not create it."""
    if path is not None or (path := os.environ.get("COURSE_DATA")):
        return Path(path).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ssl-course", appauthor=False, opinion=False))


def refusal(folder: str | Path) -> str:
    """Why nothing can be written into `folder`, or be made there if it does not exist; "" if something can."""
    folder = Path(folder).absolute()
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return error.strerror or str(error)


# ------------------------------------------------------------------------------------------------ writing
@contextmanager
def atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` whole or not at all: written next to it, flushed to disk, then renamed.

    If the process dies midway, the old file stays. Raises WriteError if the disk is full or the folder not writable.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode if path.exists() else 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
        temporary = None
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save wraps the disk's error
        if isinstance(error, WriteError) or not isinstance(cause, OSError):
            raise
        raise WriteError(f"could not write {path} ({cause.strerror}); what was there before is untouched. "
                         "Free some disk space, or choose another folder with --out (--workspace for your copy of the "
                         "lessons, --data-root for data).", str(cause.strerror)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "*", older_than: float = 3600) -> None:
    """Remove the partial files that killed processes left in `folder`.

    Files younger than `older_than` seconds stay, as another process may still be writing them.
    """
    for left in folder.glob(f".{name}.*.part"):
        try:
            if time.time() - left.stat().st_mtime >= older_than:
                left.unlink()
        except OSError:
            continue


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a small file atomically."""
    with atomic(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file atomically, UTF-8."""
    write_bytes(path, text.encode("utf-8"))
