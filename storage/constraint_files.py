"""Constraints as a YAML file that people read and edit: text to constraints and back, with errors that say where and what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from storage.constraints import Constraints

HEADER = """\
# What data quality holds the rows of {title} against.
# Edit it and bring it back: modelwatch models constraints {name} {version} --import FILE
#
# duplicates     largest share of rows that repeat an earlier one, among 2,000; null: not checked
# extra_columns  whether a table may have columns beside these
# For each feature (shares are the largest ones allowed, from 0 to 1):
#   type         number, integer, boolean or category
#   missing      share of rows without a value
#   wrong_type   share of rows with a value of another type
#   minimum, maximum, out_of_range   the range, and the share of values beyond it
#   categories, unseen               the known values (text, in quotes where YAML would take them for something else;
#                                    null: any), and the share of other ones
#   most_common  share of the most frequent value in the reference; a batch of one single value is reported where that
#                is too unlikely with this share. null or 1: never
"""


class ConstraintsError(Exception):
    """A constraints file cannot be used; the message says in one sentence where and why."""


def constraints_text(constraints: Constraints, name: str, version: str) -> str:
    """The file: comments on what the keys mean, then what is set. ``parse_constraints`` reads it back."""
    content = constraints.model_dump(mode="json")
    content["features"] = {
        feature: {key: value for key, value in values.items() if _is_worth_saying(key, value, values["type"])}
        for feature, values in content["features"].items()
    }
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    return f"{HEADER.format(title=f'{name}, version {version},', name=name, version=version)}\n{body}"


def _is_worth_saying(key: str, value: object, kind: str) -> bool:
    """Leaves out what does not apply to the type."""
    if key in ("minimum", "maximum", "out_of_range"):
        return kind in ("number", "integer")
    if key in ("categories", "unseen"):
        return kind == "category"
    return True


def parse_constraints(text: str, names: Sequence[str]) -> Constraints:
    """The constraints in a file for a version with these features. Raises ConstraintsError."""
    content, node = _load(text)
    if not isinstance(content, dict):
        raise ConstraintsError("The file is not a mapping; begin with `features:`, as the file that --export writes does.")
    try:
        found = Constraints.model_validate(content)
    except ValidationError as error:
        raise ConstraintsError(_explain(error, node)) from None
    unknown = [name for name in found.features if name not in names]
    if unknown:
        place = _line(node, ("features", unknown[0]))
        raise ConstraintsError(f"{place}the version has no feature {unknown[0]!r}; its features are {', '.join(names)}.")
    return found


def _load(text: str) -> tuple[Any, yaml.Node | None]:
    try:
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"Line {mark.line + 1}: " if mark else ""
        raise ConstraintsError(f"{place}{error.problem or error.context}; the file must be YAML or JSON.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConstraintsError(f"The file cannot be read as YAML or JSON ({str(error).splitlines()[0]}).") from None


def _explain(error: ValidationError, node: yaml.Node | None) -> str:
    problem = error.errors()[0]
    where = problem["loc"]
    path = ".".join(map(str, where)) or "the file"
    if problem["type"] == "missing":
        return f"{_line(node, where[:-1])}{path} is missing; add it."
    if problem["type"] == "extra_forbidden":
        return f"{_line(node, where)}{path} is no key of a constraints file; remove it, or look at the comments of an exported one."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{_line(node, where)}{path}: {message[:1].lower()}{message[1:]}."


def _line(node: yaml.Node | None, path: Sequence[int | str]) -> str:
    """``Line 12: `` of the innermost part of the path that is there."""
    line = None
    for part in path:
        child = _child(node, part)
        if child is None:
            break
        line, node = child
    return "" if line is None else f"Line {line}: "


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line + 1, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None
