"""What users call by name is documented, and what the documents name exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize, SecretStr
from pydantic.fields import FieldInfo
from typer.main import get_command

from alerts.settings import AlertsSettings
from cli.main import app
from collector.settings import CollectorSettings
from dashboard.settings import DashboardSettings
from inference.settings import InferenceSettings
from storage.durations import format_duration
from storage.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
PROCESSES = (InferenceSettings, CollectorSettings, AlertsSettings, DashboardSettings)


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def all_pages() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


# ---------------------------------------------------------------------------------------------- settings


def settings() -> list[tuple[str, str, FieldInfo]]:
    """Section, name and field of every setting; what all processes share comes once, under its own section."""
    shared = [("shared", name, field) for name, field in Settings.model_fields.items()]
    own = [
        (process.__module__.split(".")[0], name, field)
        for process in PROCESSES
        for name, field in process.model_fields.items()
        if name not in Settings.model_fields
    ]
    return [*shared, *own]


def default_text(field: FieldInfo) -> str:
    """How docs/settings.md writes a default: blank where it is unset or computed (the description says what it is then)."""
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if field.default_factory is not None or value is None or value == "":
        return ""
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(separator=' ')}`"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def settings_row(name: str, field: FieldInfo) -> str:
    return f"| `MODELWATCH_{name.upper()}` | {default_text(field)} | {field.description} |".replace("|  |", "| |")


def section_of(text: str, name: str) -> list[str]:
    """The lines under the heading that begins with the name."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return next((part.splitlines() for part in parts if part.lower().startswith(name)), [])


@pytest.mark.parametrize(("section", "name", "field"), settings(), ids=lambda value: value if isinstance(value, str) else "")
def test_setting_is_documented_as_it_is(section: str, name: str, field: FieldInfo) -> None:
    row = settings_row(name, field)

    assert row in section_of(read("settings.md"), section), f"docs/settings.md, section {section}, needs this row:\n{row}"


def test_documents_name_only_settings_that_exist() -> None:
    named = set(re.findall(r"MODELWATCH_([A-Z][A-Z0-9_]*[A-Z0-9])\b(?!…)", all_pages()))
    known = {name.upper() for _, name, _ in settings()}

    assert sorted(name for name in named if name not in known and name.removesuffix("_FILE") not in known) == []


# ---------------------------------------------------------------------------------------------- commands


def commands(command: Any, path: str = "modelwatch") -> Iterator[tuple[str, Any]]:
    """Every command that is not hidden, with the words that call it."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")
    elif not command.hidden:
        yield path, command


COMMANDS = dict(commands(get_command(app)))


def command_pages() -> dict[str, str]:
    """What docs/commands.md says under the heading of each command, by the words that call it."""
    parts = re.split(r"^### `(modelwatch [a-z -]+)", read("commands.md"), flags=re.MULTILINE)
    return {path.strip(): text for path, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_commands_are_the_documented_ones() -> None:
    assert sorted(command_pages()) == sorted(COMMANDS)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_options_are_the_documented_ones(path: str) -> None:
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts if option.startswith("--")} - {"--help"}
    rows = re.findall(r"^\| `(--[a-z-]+)", command_pages()[path], re.MULTILINE)

    assert sorted(rows) == sorted(options)


def test_documents_name_only_commands_that_exist() -> None:
    """Looks at code: what follows `modelwatch` in a fenced block or between back quotes."""
    known = {word for path in COMMANDS for word in path.split()[1:2]} | {"upload"}
    code = re.findall(r"```.*?```|`[^`\n]+`", all_pages(), re.DOTALL)
    named = {word for text in code for word in re.findall(r"(?:^|[\s`/])modelwatch ([a-z]+)\b", text)}

    assert sorted(named - known) == []


# ---------------------------------------------------------------------------------------------- metrics


def exported_names(package: str) -> set[str]:
    """Names in the package's metrics module: first arguments of calls and keys of dicts that are spelled as exported metrics."""
    tree = ast.parse((ROOT / package / "metrics.py").read_text(encoding="utf-8"))
    nodes: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            nodes += node.args[:1]
        if isinstance(node, ast.Dict):
            nodes += node.keys
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"(model|modelwatch|host)_[a-z0-9_]*[a-z0-9]", text)}


@pytest.mark.parametrize("package", ["inference", "collector", "alerts"])
def test_exported_metrics_are_documented(package: str) -> None:
    names = exported_names(package)

    assert names, f"{package}/metrics.py names no metrics"
    # A counter's family is named without the ending that its series have.
    assert sorted(name for name in names if not re.search(rf"`{name}(_total)?`", read("prometheus.md"))) == []


# ---------------------------------------------------------------------------------------------- links and hygiene


def links() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(ROOT)), target)
        for path in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
        if not re.match(r"https?:|mailto:", target)
    ]


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), links())
def test_link_resolves(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = ((ROOT / page).parent / path).resolve() if path else ROOT / page

    assert found.exists()
    assert not anchor or anchor in anchors(found)


def test_every_page_can_be_reached_from_the_index() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in DOCS.glob("*.md") if path.name != "README.md" and f"({path.name})" not in text] == []
