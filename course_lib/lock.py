"""One run at a time in an output folder: a lock that the system itself drops when the process ends, however it ends."""

from __future__ import annotations

import errno
import functools
import json
import os
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path


from .checkpoint import CheckpointError
from .collectives import rank

NAME = ".lock"
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what a disk without locks answers


class FolderInUse(RuntimeError):
    """Another run is writing into the folder; the message names it."""


def _hold(file) -> None:
    """Lock an open file for this process, or raise BlockingIOError or PermissionError at once."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(1 << 20)  # far behind the text, which others must be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _take(path: Path):
    """The open, locked file at `path`. What a killed run left there is taken over."""
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            _hold(file)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()  # its owner ended, and removed it, between our opening and our locking it
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            owner = file.read()
            file.close()
            raise FolderInUse(f"{path.parent} is being written by another run ({_named(owner)}): wait for it, stop it, "
                              "or choose another out folder.") from error
        except BaseException:
            file.close()
            raise


def _named(owner: str) -> str:
    try:
        facts = json.loads(owner)
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (ValueError, KeyError, TypeError):
        return "it has not written its name yet"


@contextmanager
def only_run_in(folder: Path):
    """Hold `folder` for this process (and make it). FolderInUse names the run that holds it already.

    The lock is the operating system's on the file .lock, which also says who holds it: a killed run leaves the file,
    but never the lock. Where a file system knows no locks (some network disks) nothing is held.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _take(path)
    except OSError as error:
        if error.errno in UNKNOWN:
            yield
            return
        raise CheckpointError(f"could not write into {folder} ({error.strerror}): choose another folder with "
                              "--out.") from error
    file.truncate(0)
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
    file.flush()
    try:
        yield
    finally:
        if sys.platform == "win32":  # where an open file cannot be removed
            file.close()
        path.unlink(missing_ok=True)
        file.close()


def alone_in_out(fit):
    """`fit`, holding its out folder (on rank 0, which writes) from the first line to the last."""

    @functools.wraps(fit)
    def alone(*args, out=None, **settings):
        if out is None or rank():
            return fit(*args, out=out, **settings)
        with only_run_in(Path(out)):
            return fit(*args, out=out, **settings)

    return alone
