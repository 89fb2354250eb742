"""Tells the person at the terminal how the demo goes: finished steps as lines, the step under way with a spinner or a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Narrator:
    """Writes to standard error only; standard output stays free for the result."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._started

    def say(self, sentence: str) -> None:
        self._console.print(f"[dim]{self.seconds:5.1f} s[/dim]  ", end="")
        self._console.print(sentence, markup=False)

    @contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """A spinner with what is being done; nothing where the output is no terminal."""
        with self._console.status(doing):
            yield

    @contextmanager
    def bar(self, doing: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar; the function it yields is told how much is done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as progress:
            task = progress.add_task(doing, total=total)
            yield lambda done: progress.update(task, completed=done)
