"""Tasks, of which exactly one runs at a time: the seed chooses which, at each switch point, in simulated time."""

import math
import random
from collections.abc import Callable

from greenlet import getcurrent, greenlet

STEP_S = 0.0002
"""Simulated seconds that pass from one switch to the next."""

HASTE_AT_MOST_S = 0.5
"""For so long a task may not run although it could."""

CALLS_WITHOUT_PAUSE = 250
"""
Calls to Redis and SQL that a task may make without any pause in between.

A rebuild of what a simulation holds takes about ten, so only a loop that retries at once makes as many.
"""


class Killed(BaseException):  # no Exception: the product must not catch it
    """The host of this task was killed, or the simulation is over."""


class Life:
    """One life of a host's process: it ends when the host is killed, and all of its tasks with it."""

    def __init__(self, name: str, skew_s: float = 0.0) -> None:
        self.name = name
        self.skew_s = skew_s
        self.is_alive = True
        self.was_killed = False


class Task:
    """A thread of the product, a client, or a part of the simulation itself; `life` is the process it runs in."""

    def __init__(self, name: str, run: Callable[[], object], life: Life | None) -> None:
        self.name = name
        self.life = life
        self.is_ready = True
        self.wake_at: float | None = None
        self.calls = 0
        self.is_done = False
        self.waiting_for_end: list[Task] = []
        self.greenlet = greenlet(run)


class Scheduler:
    """Runs tasks one by one until a time, an end, or until something is found wrong."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.steps = 0
        self.stickiness = 0.0
        """How probable it is that the same task goes on, where it can."""
        self.haste = 0.0
        """How probable it is that a sleeper wakes although others could run: they were that slow."""
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.trace: list[tuple[int, float, str, str]] = []
        self.verdict: tuple[str, str] | None = None
        """What was found wrong: its kind and a sentence."""
        self._hub = getcurrent()

    def spawn(self, name: str, act: Callable[[], object], life: Life | None = None) -> Task:
        """Add a task; it begins to run when it is chosen."""
        task = Task(name, lambda: self._live(task, act), life)
        task.greenlet.parent = self._hub
        self.tasks.append(task)
        return task

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        name = self.current.name if self.current else "-"
        self.trace.append((self.steps, self.now, name, what))

    def fail(self, kind: str, sentence: str) -> None:
        """End the simulation: something is wrong. The first time counts."""
        if self.verdict is None:
            self.verdict = (kind, sentence)
            self.note(f"WRONG ({kind}): {sentence}")

    def pause(self, what: str) -> None:
        """Let the seed choose who runs next; *what* is what the current task is about to do."""
        task = self._checked()
        task.calls += 1
        if task.calls > CALLS_WITHOUT_PAUSE:
            self.fail("no pause", f"{task.name} made {task.calls - 1} calls without a pause; the next is: {what}")
        self._hub.switch()
        self._checked()
        self.note(what)

    def block(self, queue: list[Task] | None, timeout_s: float | None) -> bool:
        """Wait in *queue* until woken, for at most *timeout_s*. Whether it was woken."""
        task = self._checked()
        task.calls = 0
        task.is_ready = False
        task.wake_at = None if timeout_s is None else self.now + timeout_s
        if queue is not None:
            queue.append(task)
        self._hub.switch()
        if queue is not None and task in queue:
            queue.remove(task)
            self._checked()
            return False
        self._checked()
        return True

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        if seconds > 0:
            self.block(None, seconds)
        else:
            self.pause("sleep 0")

    def wake(self, queue: list[Task]) -> None:
        """Wake all that wait in *queue*."""
        for task in queue:
            self._make_ready(task)
        queue.clear()

    def run_until(self, is_over: Callable[[], bool], max_steps: int) -> bool:
        """Run until *is_over*; False when something was found wrong, or it took more than *max_steps*."""
        last = self.steps + max_steps
        while not is_over():
            if self.verdict or self.steps >= last:
                return False
            task = self._choose()
            if task is None:
                names = ", ".join(task.name for task in self.tasks)
                self.fail("deadlock", f"all wait for each other: {names}")
                return False
            self._switch_to(task)
        return not self.verdict

    def kill(self, life: Life) -> None:
        """Kill a host: each task of it ends before any other task runs. The current one must raise Killed itself."""
        life.is_alive, life.was_killed = False, True

    def end_all(self) -> None:
        """End every task, whatever it does."""
        self.verdict = self.verdict or ("ended", "the simulation was ended")
        for _ in range(1000):
            for task in list(self.tasks):
                self._make_ready(task)
                self._switch_to(task)
            if not self.tasks:
                return
        raise AssertionError(f"tasks that do not end: {[task.name for task in self.tasks]}")

    def _live(self, task: Task, act: Callable[[], object]) -> None:
        try:
            self._checked()
            act()
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001  # a verdict, unless it comes of the end of a host that was killed
            if not task.life or task.life.is_alive:
                self.fail("error", f"{task.name} ended by {type(error).__name__}: {error}")
        finally:
            self._finish(task)

    def _finish(self, task: Task) -> None:
        task.is_done = True
        self.tasks.remove(task)
        self.wake(task.waiting_for_end)

    def _switch_to(self, task: Task) -> None:
        self.steps += 1
        self.now += STEP_S
        self.current = task
        task.greenlet.switch()
        self.current = None

    def _choose(self) -> Task | None:
        ready: list[Task] = []
        next_s, sleeper = math.inf, None
        for task in self.tasks:
            if task.life and not task.life.is_alive:
                self._make_ready(task)
                return task
            if not task.is_ready:
                if task.wake_at is None:
                    continue
                if task.wake_at > self.now:
                    if task.wake_at < next_s:
                        next_s, sleeper = task.wake_at, task
                    continue
                self._make_ready(task)
            ready.append(task)
        is_hasty = next_s - self.now < HASTE_AT_MOST_S and self.haste and self.rng.random() < self.haste
        if sleeper and (is_hasty or not ready):
            self.now = next_s
            self._make_ready(sleeper)
            return sleeper
        if not ready:
            return None
        if self._last not in ready or self.rng.random() >= self.stickiness:
            self._last = self.rng.choice(ready)
        return self._last

    _last: Task | None = None

    def _make_ready(self, task: Task) -> None:
        task.is_ready = True
        task.wake_at = None

    def _checked(self) -> Task:
        """The current task. Raises Killed where it must not go on."""
        task = self.current
        assert task is not None, "only a task may wait"
        if self.verdict or (task.life and not task.life.is_alive):
            raise Killed
        return task
