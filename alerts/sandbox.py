"""A sandbox for the templates of rules that can neither reach out nor run for ever: what a text costs is bounded.

The evaluation of all rules waits for a text. Jinja's own sandbox keeps a template from the program's objects, but not from
loops within loops, or from a few characters that are repeated a billion times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_SOURCE = 10_000
LONGEST_PART = 20_000
MOST_ROUNDS = 1000
MOST_PARTS = 10_000
_FILTERS = frozenset(
    [
        *["abs", "capitalize", "default", "d", "escape", "e", "first", "float", "format", "int", "items", "join", "last"],
        *["length", "count", "list", "lower", "max", "min", "replace", "round", "sort", "string", "sum", "title", "trim"],
        *["truncate", "unique", "upper", "urlencode"],
    ]
)
_METHODS = frozenset(
    [
        *["capitalize", "casefold", "endswith", "find", "format", "isdigit", "lower", "lstrip", "partition", "removeprefix"],
        *["removesuffix", "replace", "rpartition", "rsplit", "rstrip", "split", "startswith", "strip", "title", "upper"],
    ]
)
_WIDE_PERCENT = re.compile(r"%[^A-Za-z%]*(\d{4}|\*)")
_WIDE_BRACES = re.compile(r"\{[^{}]*(\d{4}|\{)")


class TooMuch(TemplateError):
    """A template that would cost more than a text may."""


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Ranges are short, loops are not within each other, and no text, list or number on the way gets large."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        # The texts are plain: each channel escapes the whole message for itself.
        super().__init__(undefined=StrictUndefined, autoescape=False)
        self.globals = {"range": _short_range}
        self.filters = {name: _bounded(made) for name, made in self.filters.items() if name in _FILTERS}
        self.filters["format"] = _bounded(_format)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > LONGEST_SOURCE:
            raise TemplateSyntaxError(f"a template has at most {LONGEST_SOURCE:,} characters", 1)
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            if loop.recursive or loop.find(nodes.For):
                raise TemplateSyntaxError("a loop within a loop is not allowed", loop.lineno)
        for kind in (nodes.Macro, nodes.CallBlock, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block):
            if found := tree.find(kind):
                raise TemplateSyntaxError(f"{kind.__name__.lower()} is not allowed here", found.lineno)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | bytes):
            return attr in _METHODS
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (isinstance(right, int | float) and abs(right) <= 100 and abs(left) <= 1e6):
            raise TooMuch("a power this large is not allowed")
        if operator == "*" and any(hasattr(side, "__len__") for side in (left, right)):
            raise TooMuch("only numbers can be multiplied")
        if operator == "%" and isinstance(left, str):
            return small(_format(left, *(right if isinstance(right, tuple) else (right,))))
        return small(super().call_binop(context, operator, left, right))

    def call(self, context: Context, made: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(made, "__wrapped__", made)  # jinja wraps the method `format` of texts
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str) and method.__name__ == "format" and _WIDE_BRACES.search(owner):
            raise TooMuch("a width this large is not allowed")
        return small(super().call(context, made, *args, **kwargs))

    def joined(self, parts: Sequence[Any]) -> str:
        """What ``~`` makes of its sides."""
        return str(small("".join(str(part) for part in parts)))


class _Code(CodeGenerator):
    """Has what ``~`` makes measured."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  the name that jinja calls
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


BoundedSandbox.code_generator_class = _Code


def written(parts: Iterator[str], limit: int) -> str:
    """The text that a template writes, as far as the limit; what comes after it is not made."""
    text = ""
    for number, part in enumerate(parts):
        text += part[:limit]
        if len(text) >= limit:
            return text[:limit]
        if number > MOST_PARTS:
            raise TooMuch("the template goes on and on")
    return text


def small(value: Any) -> Any:
    """The value, where it is no larger than a part of a text may be. Raises TooMuch."""
    if isinstance(value, int) and abs(value) > 10**300:
        raise TooMuch("a number this large is not allowed")
    if hasattr(value, "__len__") and len(value) > LONGEST_PART:
        raise TooMuch("a text or a list this long is not allowed")
    return value


def _short_range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MOST_ROUNDS:
        raise TooMuch(f"a range has at most {MOST_ROUNDS:,} numbers")
    return made


def _format(text: str, *values: Any, **named: Any) -> str:
    if _WIDE_PERCENT.search(text):
        raise TooMuch("a width this large is not allowed")
    return str(text) % (named or values)


def _bounded(made: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, whose result has to be small."""

    def filtered(*args: Any, **kwargs: Any) -> Any:
        return small(made(*args, **kwargs))

    filtered.__dict__.update(getattr(made, "__dict__", {}))  # by which jinja knows that a filter wants the environment first
    return filtered
