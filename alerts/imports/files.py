"""Reads files of Prometheus and Alertmanager, and writes the rules file that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alerts.imports.alertmanager import import_routing
from alerts.imports.notes import ImportProblem, Mapping, Notes
from alerts.imports.prometheus_rules import import_rules
from alerts.rules import RulesError, parse_rules

WIDTH = 120


class _Texts(yaml.SafeLoader):
    """All scalars are texts: what is written 22:00 is a time of day, and not 1320 as YAML has it."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012  as PyYAML has it


class _Readable(yaml.SafeDumper):
    """Short lists in one line, texts of several lines as they are."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=all(isinstance(one, str | int) for one in sequence))

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Readable.add_representer(str, _Readable.represent_str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The text of a rules file, how many rules are in it, and what is to be said about it."""

    text: str
    rules: int
    notes: tuple[str, ...]


def import_files(rules: Sequence[Path], alertmanager: Path | None = None) -> Imported:
    """The rules of Prometheus, with the routing of Alertmanager. Raises ImportProblem where a file makes no sense."""
    notes = Notes()
    made = import_rules([(str(path), _read(path)) for path in rules], notes)
    content: Mapping = {"groups": made.groups}
    if alertmanager is not None:
        content |= import_routing(_read(alertmanager), made.names, notes)
    number = sum(len(group["rules"]) for group in made.groups)
    notes.todo.append("set MODELWATCH_PROMETHEUS_URL to the Prometheus that the rules ask")
    sources = ", ".join(path.name for path in (*rules, *([alertmanager] if alertmanager else ())))
    body = yaml.dump(content, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=WIDTH)
    text = f"# Made of {sources} by `modelwatch alerts import`.\n\n{body}"
    try:
        parse_rules(text, "the rules that came of it")
    except RulesError as error:
        raise ImportProblem(
            "\n".join(f"The rules that came of it cannot be used: {problem}" for problem in error.problems)
        ) from error
    return Imported(text=text, rules=number, notes=tuple(notes.lines()))


def _read(path: Path) -> Mapping:
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Texts)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise ImportProblem(f"{path}: it cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise ImportProblem(f"{path}: it is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise ImportProblem(f"{path}: it is not a mapping")
    return {str(key): value for key, value in content.items()}
