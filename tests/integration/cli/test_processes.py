"""A child of the supervisor ends with it; a process that somebody started by hand outlives its shell."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.programs import running

CHILD = "from cli.processes import follow_parent; print(follow_parent(), flush=True); import signal; signal.pause()"
PARENT = """
import os, subprocess, sys
from cli.processes import environment_of_child
environment = environment_of_child(dict(os.environ)) if sys.argv[1] == "supervised" else None
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], env=environment)
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process with one child, which has said whether it is supervised."""
    with running([PARENT, request.param, CHILD], stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.mark.parametrize(("parent", "is_supervised"), [("supervised", True), ("by hand", False)], indirect=["parent"])
def test_a_supervised_child_ends_when_its_parent_is_killed(parent: subprocess.Popen[str], is_supervised: bool) -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == f"{is_supervised}\n"

    parent.kill()
    parent.wait()

    # The child holds the other end of the pipe: it is empty for good when the child is gone.
    if not is_supervised:
        with pytest.raises(subprocess.TimeoutExpired):
            parent.communicate(timeout=1.5)
        subprocess.run(["kill", str(child)], check=True)
    assert parent.communicate(timeout=60)[0] == ""
