"""What commands print on standard output: aligned tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Columns as wide as their longest cell; ``empty`` where there are no rows."""
    if not rows:
        print(empty)
        return
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(len(header), *(len(row[index]) for row in texts)) for index, header in enumerate(headers)]
    for line in ([*headers], ["-" * width for width in widths], *texts):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def print_fields(fields: dict[str, object]) -> None:
    """One ``name: value`` per line, the values aligned."""
    width = max(len(name) for name in fields) + 1
    for name, value in fields.items():
        print(f"{name + ':':<{width}} {cell(value)}".rstrip())


def cell(value: object) -> str:
    """One value as text: dates in UTC to the second, numbers short, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


def label_text(labels: Mapping[str, str]) -> str:
    """Labels in one line, by name."""
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def print_json(content: object) -> None:
    """Exactly one JSON document on standard output."""
    print(json.dumps(content, indent=2, default=plain, ensure_ascii=False))


def plain(value: Any) -> object:
    """What JSON has no notation for, as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def say(sentence: str) -> None:
    """A sentence for the person at the terminal, on standard error so that standard output stays clean for data."""
    print(sentence, file=sys.stderr, flush=True)
