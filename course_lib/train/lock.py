"""One run at a time in an output folder: a lock that the system drops when the process ends, however it ends."""

from __future__ import annotations

import errno
import functools
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from course_lib.collectives import rank
from course_lib.files import remove_leftovers
from course_lib.moved import signpost
from course_lib.train.checkpoint import CheckpointError

__getattr__ = signpost(__name__)  # names the new name of what has been renamed here

LOCK, OWNER = ".lock", ".owner"  # two files: Windows cannot read a locked one
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # errors of a disk without locks


class FolderInUse(RuntimeError):
    """Another run is writing into the folder; the message names it."""


def _named(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not written its name yet"


@contextmanager
def only_run_in(folder: Path):
    """Hold `folder` for this process (and make it). FolderInUse names the run that holds it already.

    A killed run leaves the file .lock but not the lock on it, which belongs to the operating system. On a file system
    without locks (some network disks) nothing is held.
    """
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(),
                                     "since": time.strftime("%Y-%m-%d %H:%M:%S")}), encoding="utf-8")
    except Timeout as error:
        raise FolderInUse(f"{folder} is being written by another run ({_named(owner)}): wait for it, stop it, or "
                          "choose another out folder.") from error
    except OSError as error:
        lock.release()
        if error.errno not in UNKNOWN:
            raise CheckpointError(f"could not write into {folder} ({error.strerror}): choose another folder with "
                                  "--out.") from error
    try:
        remove_leftovers(folder, older_than=0 if lock.is_locked else 3600)
        yield
    finally:
        if lock.is_locked:
            owner.unlink(missing_ok=True)
            with suppress(PermissionError):  # on Windows an open file cannot be removed; there the release does it
                (folder / LOCK).unlink(missing_ok=True)
            lock.release()


def holding_out_folder(fit):
    """`fit`, with its out folder locked on rank 0, which writes, from the first line to the last."""

    @functools.wraps(fit)
    def locked(*args, out=None, **settings):
        out = None if out is None else Path(out).expanduser()
        if out is None or rank():
            return fit(*args, out=out, **settings)
        with only_run_in(out):
            return fit(*args, out=out, **settings)

    return locked
