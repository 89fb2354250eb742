"""Finds settings that nobody reads: a misspelt variable or key would otherwise be ignored without a word."""

from __future__ import annotations

import ast
import difflib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

PREFIX = "MODELWATCH_"
LAUNCH_VARIABLES = frozenset({"MODELWATCH_VERSION"})
"""Set by images and unit files to label a process; no setting, and no mistake."""


def known_names() -> frozenset[str]:
    """The fields of every settings class, in lower case.

    Read from the source, because importing the classes would pull the libraries of all services into every process.
    """
    folder = Path(__file__).parent.parent
    sources = [folder / package / "settings.py" for package in ("storage", "inference", "collector", "alerts", "dashboard")]
    return frozenset(name for source in sources if source.exists() for name in fields_in(source.read_text(encoding="utf-8")))


def fields_in(source: str) -> Iterator[str]:
    """The annotated names of every class whose name ends in ``Settings``."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings"):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    yield statement.target.id


def warnings(environment: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for every ``MODELWATCH_…`` variable or ``modelwatch.toml`` key that no process reads."""
    from storage.settings import TOML_FILE, read_toml

    variables = [name for name in (os.environ if environment is None else environment) if name.upper().startswith(PREFIX)]
    keys = list(read_toml())
    if not variables and not keys:
        return []
    known = known_names()
    return [
        *unknown_variables(sorted(variables), known),
        *(f"{TOML_FILE} sets {key}, which is not a setting{_nearest(key, known, str)}" for key in keys if key not in known),
    ]


def unknown_variables(variables: Iterable[str], known: Collection[str]) -> list[str]:
    """A sentence for each variable that is not ``PREFIX`` + a known name, with or without ``_FILE``."""
    return [
        f"{name} is not a setting{_nearest(name.upper().removeprefix(PREFIX).lower(), known, _variable)}"
        for name in variables
        if name not in LAUNCH_VARIABLES and not _is_known(name.upper().removeprefix(PREFIX).lower(), known)
    ]


def _is_known(name: str, known: Collection[str]) -> bool:
    return name in known or name.removesuffix("_file") in known


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _nearest(name: str, known: Collection[str], spell: Callable[[str], str]) -> str:
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    if not found:
        return " and is ignored."
    return f" and is ignored; did you mean {spell(found[0])}?"
