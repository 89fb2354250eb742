"""docs/quickstart.md runs as it stands: every block is executed in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.engine import create_engine, reading
from tests.acceptance.stacks import answers, await_that, environment_for, running, url

pytestmark = pytest.mark.acceptance

DOCUMENT = Path(__file__).parents[2] / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATABASE = "modelwatch-data/modelwatch.db"


def blocks() -> Iterator[tuple[str, str]]:
    """Language and text of each block of the tour with a model of one's own, in order."""
    tour = DOCUMENT.read_text(encoding="utf-8").split("## With a model of your own")[1]
    yield from BLOCK.findall(tour)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def printed(folder: Path) -> Iterator[str]:
    """What all blocks printed; the services run until the tests are done."""
    environment = environment_for(folder) | {"MODELWATCH_HOME": "modelwatch-data"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    said = []
    with ExitStack() as cleanup:
        for language, content in blocks():
            content = content.replace("http://127.0.0.1:8000", url(environment))
            if language == "python":
                name = re.match(r"# (\w+\.py)\n", content)
                assert name is not None, f"the first line of a Python block names its file: {content[:40]!r}"
                (folder / name[1]).write_text(content, encoding="utf-8")
            elif content.strip() == "modelwatch up":
                cleanup.enter_context(running(folder, environment, "up"))
                await_that(lambda: answers(f"{url(environment)}/ready"), 60, "the sidecar is ready")
            else:
                said.append(run(content, folder, environment))
                if "models register" in content:
                    await_that(
                        lambda: answers(f"{url(environment)}/v1/models/tumour", "champion"), 30, "the sidecar serves the model"
                    )
        yield "\n".join(said)


def run(script: str, folder: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_every_block_does_what_the_text_says(printed: str) -> None:
    assert "Registered version 1 of tumour (joblib, 3 features)." in printed
    assert '"version":"1"' in printed.replace(" ", "")
    assert "row 0" in printed or '"row":0' in printed
    assert "Registered version 2 of tumour" in printed
    assert "Verdict: " in printed
    assert "Version 1 of tumour answers all requests." in printed


def test_traffic_of_the_tour_is_in_the_view_of_each_version(printed: str, folder: Path) -> None:
    engine = create_engine(f"sqlite:///{folder / DATABASE}")

    def stored() -> int:
        with reading(engine) as connection:
            query = text("SELECT (SELECT count(radius) FROM tumour_v1) + (SELECT count(radius) FROM tumour_v2)")
            return int(connection.execute(query).scalar_one())

    await_that(lambda: stored() == 301, 20, "every prediction is stored once")
    engine.dispose()
