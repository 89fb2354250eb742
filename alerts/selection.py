"""Which series a rule judges: its ``where`` as a function that is made once and called for every series. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from fnmatch import translate
from functools import lru_cache

from storage.records import MetricPoint

SIGNS = frozenset("*?[")
"""What makes a pattern of a text: a text without any of them stands for itself."""

Selector = Callable[[MetricPoint], bool]


def is_literal(pattern: str) -> bool:
    """Whether the pattern matches nothing but itself."""
    return SIGNS.isdisjoint(pattern)


def matches(pattern: str, value: str) -> bool:
    """Whether the whole value is what the pattern stands for: ``*`` any text, ``?`` any character.

    >>> matches("host=*", "host=web1"), matches("churn", "Churn")
    (True, False)
    """
    return value == pattern if is_literal(pattern) else pattern == "*" or _compiled(pattern).match(value) is not None


def selector(where: Mapping[str, str], *, empty: Collection[str]) -> Selector:
    """Whether a point's series is meant: ``where`` matches, and the keys in ``empty`` are empty unless ``where`` names them.

    Texts are compared before patterns are, and ``*`` asks nothing.
    """
    texts = [(key, pattern) for key, pattern in where.items() if is_literal(pattern)]
    texts += [(key, "") for key in empty if key not in where]
    patterns = [(key, _compiled(pattern)) for key, pattern in where.items() if not is_literal(pattern) and pattern != "*"]

    def selects(point: MetricPoint) -> bool:
        for key, text in texts:
            if getattr(point, key) != text:
                return False
        return all(compiled.match(getattr(point, key)) is not None for key, compiled in patterns)

    return selects


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
