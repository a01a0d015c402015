"""The folder of all data: made, held by the one service on it, and what is in the way said in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import CannotOpen
from storage.files import real, sync
from storage.locks import FileLock
from storage.sql.database import read_url


def database_file(data_dir: Path, database_url: str = "") -> Path | None:
    """Where the database is, once there is one; None for one on a server. Raises CannotOpen."""
    if not database_url:
        return data_dir / "tweets.db"
    url = read_url(database_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def is_ours(path: Path, data_dir: Path, database_url: str) -> bool:
    """Whether *path* is, or would be, a file that a service with these settings works with. Raises CannotOpen."""
    path, data_dir = real(path), real(data_dir)
    database = real(database_file(data_dir, database_url) or data_dir / "tweets.db")
    endings = ("", "-wal", "-shm", "-journal", ".lock", ".open.lock")
    beside = {database.with_name(database.name + ending) for ending in endings}
    if path in {*beside, data_dir / "serve.lock", data_dir / "index.trusted"}:
        return True
    return any(path.is_relative_to(data_dir / folder) for folder in ("redis", "metrics"))


def make_data_dir(data_dir: Path) -> None:
    """Make the folder of all data, for its owner alone. Raises CannotOpen."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / "tweets.db.lock").touch(mode=0o600)
    except OSError as error:
        raise CannotOpen(
            f"DATA_DIR {data_dir} cannot be written ({error.strerror}); choose a folder that this user may write."
        ) from error


def take_clean_marker(data_dir: Path) -> bool:
    """Remove the file that is there between a clean stop and the next start, for good; whether it was there."""
    try:
        (data_dir / "index.trusted").unlink()
    except OSError:  # it is not there, or something else is: that cannot be trusted, nor be taken for it later
        return False
    sync(data_dir)  # or a power cut could bring it back, and with it the trust in what the power cut may have spoilt
    return True


def leave_clean_marker(data_dir: Path) -> None:
    """Make that file. What prevents it costs one rebuild, at the next start."""
    with suppress(OSError):
        (data_dir / "index.trusted").touch()


@contextmanager
def serving_alone(data_dir: Path) -> Iterator[None]:
    """No other service on *data_dir* while the block runs. Raises CannotOpen when there is one already."""
    make_data_dir(data_dir)
    path = data_dir / "serve.lock"
    with usable(path):
        lock = FileLock(path)
    try:
        if not lock.try_hold():
            raise CannotOpen(f"Another service runs on the data in {data_dir}; stop it first.")
        yield
    finally:
        lock.close()


@contextmanager
def usable(place: Path) -> Iterator[None]:
    """Raise CannotOpen, naming what is in the way, where *place* or what is in it cannot be opened."""
    try:
        yield
    except OSError as error:
        where = error.filename or place
        raise CannotOpen(
            f"{where} cannot be used ({error.strerror}); move it away, or choose another DATA_DIR."
        ) from error
