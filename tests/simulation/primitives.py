"""
What the product imports as `time`, `threading`, `secrets`, `random`, `fcntl` and `os`, made of tasks and a seed.

Each has the names that the product uses and no more: an AttributeError says which one to add.
"""

import fcntl as real_fcntl
import os as real_os
import random as real_random
import secrets as real_secrets
import threading as real_threading
import time as real_time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace, TracebackType
from typing import Any

from tests.simulation.scheduler import Life, Scheduler, Task

EPOCH_S = 1_790_000_000
"""When each simulation begins, in seconds since 1970."""


class World:
    """The simulation that runs now; the primitives have no other way to know."""

    scheduler: Scheduler
    randomness: real_random.Random
    """What the product draws from: ids, nonces, names."""
    flocks: dict[int, int]
    """Files that are locked, by their number: the descriptor that holds the lock."""
    flock_queue: list[Task]
    descriptors: dict[Life | None, set[int]]


def _scheduler() -> Scheduler:
    return World.scheduler


def _life() -> Life | None:
    task = World.scheduler.current
    return task.life if task else None


def _is_dying() -> bool:
    """Whether the current task only unwinds: its host was killed, and nothing that it held matters any more."""
    life = _life()
    return World.scheduler.verdict is not None or (life is not None and not life.is_alive)


class Lock:
    """As threading.Lock."""

    def __init__(self) -> None:
        self._held = False
        self._queue: list[Task] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; False when it is not free in time."""
        if self._held and not blocking:
            return False
        deadline = None if timeout < 0 else _scheduler().now + timeout
        while self._held and not _is_dying():
            left = None if deadline is None else deadline - _scheduler().now
            if left is not None and left <= 0:
                return False
            _scheduler().block(self._queue, left)
        self._held = True
        return True

    def release(self) -> None:
        """Free the lock."""
        assert self._held or _is_dying()
        self._held = False
        _scheduler().wake(self._queue)

    def locked(self) -> bool:
        """Whether it is held."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class RLock(Lock):
    """As threading.RLock."""

    def __init__(self) -> None:
        super().__init__()
        self._owner: Task | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock once more, or wait for it."""
        if not (self._held and self._owner is _scheduler().current) and not super().acquire(blocking, timeout):
            return False
        self._owner = _scheduler().current
        self._depth += 1
        return True

    def release(self) -> None:
        """Undo one `acquire`."""
        self._depth -= 1
        if self._depth <= 0:
            self._owner = None
            super().release()

    def release_all(self) -> int:
        """Free the lock however often it was taken, and say how often that was."""
        depth, self._depth = self._depth, 1
        self.release()
        return depth

    def take_again(self, depth: int) -> None:
        """Undo `release_all`."""
        self.acquire()
        self._depth = depth


class Condition:
    """As threading.Condition."""

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or RLock()
        self._queue: list[Task] = []
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; False when that did not happen in time."""
        depth = 1
        if isinstance(self._lock, RLock):
            depth = self._lock.release_all()
        else:
            self._lock.release()
        try:
            return _scheduler().block(self._queue, timeout)
        finally:
            if isinstance(self._lock, RLock):
                self._lock.take_again(depth)
            else:
                self._lock.acquire()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until *predicate* holds."""
        deadline = None if timeout is None else _scheduler().now + timeout
        while not (result := predicate()):
            left = None if deadline is None else deadline - _scheduler().now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake some that wait."""
        some, self._queue[:] = self._queue[:n], self._queue[n:]
        _scheduler().wake(some)

    def notify_all(self) -> None:
        """Wake all that wait."""
        _scheduler().wake(self._queue)


class Event:
    """As threading.Event."""

    def __init__(self) -> None:
        self._is_set = False
        self._queue: list[Task] = []

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Wake all that wait."""
        self._is_set = True
        _scheduler().wake(self._queue)

    def clear(self) -> None:
        """Let those that come later wait."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        if not self._is_set:
            _scheduler().block(self._queue, timeout)
        return self._is_set


class Thread:
    """As threading.Thread: a task in the life of the one that starts it."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str = "thread",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        del group
        self.name, self.daemon = name, daemon
        self._target, self._args, self._kwargs = target, args, kwargs or {}
        self._task: Task | None = None

    def start(self) -> None:
        """Begin to run, when chosen."""
        life = _life()
        name = f"{life.name}.{self.name}" if life else self.name
        self._task = _scheduler().spawn(name, self.run, life)

    def run(self) -> None:
        """Run the target."""
        if self._target:
            self._target(*self._args, **self._kwargs)

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._task is not None and not self._task.is_done

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self._task and not self._task.is_done:
            _scheduler().block(self._task.waiting_for_end, timeout)


class Local:
    """As threading.local."""

    def __init__(self) -> None:
        self.__dict__["_of_task"] = {}

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = self.__dict__["_of_task"].setdefault(_scheduler().current, {})
        return values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values()[name] = value


def _wall_s() -> float:
    life = _life()
    return EPOCH_S + _scheduler().now + (life.skew_s if life else 0.0)


def _flock(descriptor: int, operation: int) -> None:
    """As fcntl.flock on the real file, but a task that waits lets others run."""
    while True:
        try:
            real_fcntl.flock(descriptor, operation | real_fcntl.LOCK_NB)
        except BlockingIOError:
            if operation & real_fcntl.LOCK_NB:
                raise
            _scheduler().block(World.flock_queue, None)
        else:
            break
    if operation & real_fcntl.LOCK_UN:
        _scheduler().wake(World.flock_queue)


def _open(*arguments: Any, **named: Any) -> int:
    descriptor = real_os.open(*arguments, **named)
    World.descriptors.setdefault(_life(), set()).add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    for held in World.descriptors.values():
        held.discard(descriptor)
    real_os.close(descriptor)
    _scheduler().wake(World.flock_queue)


def close_descriptors(life: Life) -> None:
    """Close what a host that was killed had open."""
    for descriptor in World.descriptors.pop(life, set()):
        real_os.close(descriptor)
    _scheduler().wake(World.flock_queue)


class _Module(SimpleNamespace):
    """A module with some names of its own, and all others of the real one."""

    def __init__(self, real: ModuleType, **names: Any) -> None:
        super().__init__(**names)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_real"], name)


def _monotonic() -> float:
    return _scheduler().now


def _sleep(seconds: float) -> None:
    _scheduler().sleep(seconds)


def _name() -> str:
    task = _scheduler().current
    return task.name if task else "main"


def _drawn(name: str) -> Callable[..., Any]:
    """The method of that name of what the product draws from, whichever that is when it is called."""

    def draw(*arguments: Any) -> Any:
        return getattr(World.randomness, name)(*arguments)

    return draw


time = SimpleNamespace(
    sleep=_sleep,
    monotonic=_monotonic,
    perf_counter=_monotonic,
    time=_wall_s,
    time_ns=lambda: int(_wall_s() * 1_000_000) * 1000,
)
threading = SimpleNamespace(
    Lock=Lock,
    RLock=RLock,
    Condition=Condition,
    Event=Event,
    Thread=Thread,
    local=Local,
    current_thread=lambda: SimpleNamespace(name=_name()),
    get_ident=lambda: id(_scheduler().current),
)
secrets = SimpleNamespace(
    randbits=_drawn("getrandbits"),
    randbelow=_drawn("randrange"),
    token_bytes=_drawn("randbytes"),
    token_hex=lambda count: World.randomness.randbytes(count).hex(),
)
random = SimpleNamespace(uniform=_drawn("uniform"), random=_drawn("random"), Random=real_random.Random)
fcntl = _Module(real_fcntl, flock=_flock)
os = _Module(real_os, open=_open, close=_close)

SUBSTITUTES: list[tuple[ModuleType, Any]] = [
    (real_time, time), (real_threading, threading), (real_secrets, secrets), (real_random, random),
    (real_fcntl, fcntl), (real_os, os),
]  # fmt: skip


@contextmanager
def substituted(modules: list[ModuleType]) -> Iterator[None]:
    """Let *modules* find the primitives of this module where they imported those of the standard library."""
    by_id: dict[int, Any] = {id(real): ours for real, ours in SUBSTITUTES}
    for real, ours in SUBSTITUTES:
        names = [name for name in vars(ours) if not name.startswith("_")]
        by_id |= {id(getattr(real, name)): getattr(ours, name) for name in names if hasattr(real, name)}
    changed: list[tuple[ModuleType, str, Any]] = []
    try:
        for module in modules:
            for name, value in list(vars(module).items()):
                if not name.startswith("__") and id(value) in by_id and value is not by_id[id(value)]:
                    changed.append((module, name, value))
                    setattr(module, name, by_id[id(value)])
        yield
    finally:
        for module, name, value in reversed(changed):
            setattr(module, name, value)
