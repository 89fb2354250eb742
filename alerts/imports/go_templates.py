"""Texts of Prometheus' rules, which are Go templates, as ours, which are Jinja's. Pure.

Pieces that say a value or a label are translated, with the functions that have a like; a text with a condition or a loop
is not, since a part of it would say something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECE = re.compile(r"\{\{(-?)(.*?)(-?)\}\}", re.DOTALL)
_LABEL = re.compile(r"(?:\$labels|\.Labels)\.([A-Za-z_]\w*)|index\s+(?:\$labels|\.Labels)\s+\"([A-Za-z_]\w*)\"")
_QUOTED = re.compile(r'"([^"\\{}]*)"')
_CONTROL = ("if", "else", "end", "range", "with", "define", "template", "block")
_METHODS = frozenset(dir(dict))
_NUMBERS = {
    "humanize": "{}",
    "humanize1024": "{}",
    "humanizePercentage": '"%.4g%%" | format({} * 100)',
    "humanizeDuration": '"%.4gs" | format({})',
}
_TEXTS = {"title": "{} | title", "toUpper": "{} | upper", "toLower": "{} | lower"}
_PRINTF = re.compile(r'printf\s+"(%(?:\.\d+)?[fgeds](?:%%)?)"(?:\s+(.+))?', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """The text, None where none can be made of it; ``lost`` are the pieces that are not in it."""

    text: str | None
    lost: tuple[str, ...] = ()


def translate(text: str) -> Translated:
    """The template as one of ours; a piece that has no like becomes an ellipsis.

    >>> translate('{{ $labels.job }} fails {{ $value | humanizePercentage }}').text
    '{{ labels.job | default }} fails {{ "%.4g%%" | format(value * 100) }}'
    >>> translate("{{ $externalURL }}/x")
    Translated(text='…/x', lost=('$externalURL',))
    """
    lost: list[str] = []
    pieces: list[str] = []
    end = 0
    for found in _PIECE.finditer(text):
        pieces.append(_plain(text[end : found.start()]))
        end = found.end()
        inner = found[2].strip()
        if inner.split(maxsplit=1)[:1] and inner.split()[0] in _CONTROL:
            return Translated(text=None, lost=(f"{{{{ {inner} }}}}",))
        if inner.startswith("/*"):
            continue
        said = _expression(inner)
        if said is None:
            lost.append(inner)
        pieces.append("…" if said is None else f"{{{{{found[1]} {said} {found[3]}}}}}")
    return Translated(text="".join([*pieces, _plain(text[end:])]), lost=tuple(lost))


def _plain(text: str) -> str:
    """Text that Jinja would read as its own is made a text of it."""
    return re.sub(r"\{[%#]|[%#]\}|\{\{|\}\}", lambda found: f'{{{{ "{found[0]}" }}}}', text)


def _expression(text: str) -> str | None:
    first, *functions = (part.strip() for part in text.split("|"))
    said = _operand(first)
    is_number = said == "value"
    for function in functions:
        if said is None:
            return None
        said = _applied(function, said, is_number=is_number)
        is_number = is_number and said == "value"
    return said


def _operand(text: str) -> str | None:
    if text in ("$value", ".Value"):
        return "value"
    if found := _LABEL.fullmatch(text):
        name = found[1] or found[2]
        if name == "alertname":
            return "alert"
        return f'labels["{name}"] | default' if name in _METHODS else f"labels.{name} | default"
    if _QUOTED.fullmatch(text):
        return text
    if (printf := _PRINTF.fullmatch(text)) and printf[2]:
        inner = _operand(printf[2].strip())
        return _formatted(printf[1], inner)
    function, _, rest = text.partition(" ")
    if rest and (function in _NUMBERS or function in _TEXTS):
        inner = _operand(rest.strip().removeprefix("(").removesuffix(")").strip())
        return None if inner is None else _applied(function, inner, is_number=inner == "value")
    return None


def _applied(function: str, said: str, *, is_number: bool) -> str | None:
    if function in _NUMBERS and is_number:
        return _NUMBERS[function].format(said)
    if function in _TEXTS and not is_number:
        return _TEXTS[function].format(said)
    printf = _PRINTF.fullmatch(function)
    return _formatted(printf[1], said) if printf and not printf[2] else None


def _formatted(how: str, said: str | None) -> str | None:
    if said is None or how.rstrip("%").endswith("s") == (said == "value"):
        return None  # a text as a number, or a number as a text
    return f'"{how}" | format({said})'
