"""Python programs in processes of their own, none of which outlives its test, however that ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any


def run_side_by_side(programs: Sequence[Sequence[str]], *, seconds: float = 200) -> None:
    """Runs programs, each given by its text and its arguments, at the same time; fails where one of them fails."""
    with ExitStack() as started:
        processes = [started.enter_context(running(program, stderr=subprocess.PIPE, text=True)) for program in programs]
        errors = [process.communicate(timeout=seconds)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors


@contextmanager
def running(program: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """One program, killed at the end of the block where it still runs."""
    with subprocess.Popen([sys.executable, "-c", *program], **options) as process:
        try:
            yield process
        finally:
            process.kill()
