"""Files that have their name only once they are whole."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STREAMS = (Path("/dev"), Path("/proc"))
"""What has a name here is never replaced by a file: `/dev/stdout` is a file only as long as the shell says so."""


@contextmanager
def replacing(name: Path, spare: Path, mode: int = 0o666) -> Iterator[Path]:
    """
    A new file to write to. When the block ends well, it is on disk and has its *name*; otherwise nothing has changed.

    A symlink stays, and what it points to is replaced. A device or a pipe stays, and gets the content: until then that
    is in the folder *spare*. Raises OSError.
    """
    is_stream = _is_stream(name)
    goal = name if is_stream else real(name)
    if goal.is_symlink() and not is_stream:  # it leads to itself
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    part = (spare if is_stream else goal.parent) / f".{goal.name}.{os.getpid()}.part"
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield part
        if is_stream:
            with part.open("rb") as content, goal.open("wb") as stream:
                shutil.copyfileobj(content, stream)
        else:
            sync(part)
            part.replace(goal)
            sync(goal.parent)
    finally:
        part.unlink(missing_ok=True)


def _is_stream(name: Path) -> bool:
    if any(name.absolute().is_relative_to(folder) for folder in STREAMS):
        return True
    try:
        return not stat.S_ISREG(name.stat().st_mode)
    except OSError:  # there is none, or what leads there is wrong
        return False


def real(path: Path) -> Path:
    """The file that *path* leads to; a link that leads to itself stays as it is."""
    return Path(os.path.realpath(path))


def sync(path: Path) -> None:
    """See that *path* is on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
