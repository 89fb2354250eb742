"""Matchers of Alertmanager as patterns of ours: ``=``, ``!=``, and of ``=~`` and ``!~`` what a few patterns can say. Pure.

A regular expression of Alertmanager has to match the whole value. What it says with ``|``, ``.``, ``.*``, ``.+``, ``?`` and
short classes becomes patterns; anything else (``[0-9]+``) does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_PATTERNS = 64
_MATCHER = re.compile(
    r"""\s*(?P<name>[\w.:/-]+|"(?:[^"\\]|\\.)*")\s*(?P<how>=~|!~|!=|=)\s*(?P<value>"(?:[^"\\]|\\.)*"|[^",]*?)\s*""", re.DOTALL
)
_SIGNS = re.compile(r"[*?]|^!")
_CLASSES = frozenset("dDwWsSbBAzZpP")


class NoPattern(Exception):
    """A matcher says something that patterns cannot say; the message says what."""


def parse_matcher(text: str) -> tuple[str, str, str]:
    """Label, operator and value. Raises NoPattern.

    >>> parse_matcher('severity=~"critical|page"')
    ('severity', '=~', 'critical|page')
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise NoPattern(f"{text!r} is not one matcher")
    return _unquoted(found["name"]), found["how"], _unquoted(found["value"])


def split_matchers(text: str) -> list[str]:
    """``{a="b", c=~"d,e"}`` as its matchers; commas in quotes divide nothing.

    >>> split_matchers('{a="b", c=~"d,e"}')
    ['a="b"', 'c=~"d,e"']
    """
    inner = text.strip().removeprefix("{").removesuffix("}")
    return [one.strip() for one in re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', inner) if one.strip()]


def _unquoted(text: str) -> str:
    if len(text) < 2 or not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)


def patterns_of(how: str, value: str) -> list[str]:
    """The patterns of which one has to match. Raises NoPattern.

    >>> patterns_of("=~", "critical|page"), patterns_of("=~", "api-.+"), patterns_of("!~", "dev.*"), patterns_of("!=", "x")
    (['critical', 'page'], ['api-?*'], ['!dev*'], ['!x'])
    """
    if how in ("=", "!="):
        return [("!" if how == "!=" else "") + _literal(value)]
    found = _reduced(regex_patterns(value))
    if how == "=~":
        return found
    if len(found) > 1:
        raise NoPattern("none of several values at once is more than patterns can say")
    return [f"!{found[0]}"]


def _literal(text: str) -> str:
    if _SIGNS.search(text):
        raise NoPattern(f"the text {text!r} contains signs that patterns use")
    return text


def _reduced(patterns: Sequence[str]) -> list[str]:
    """Without repetition; one that stands for everything makes the others needless."""
    return ["*"] if "*" in patterns else list(dict.fromkeys(patterns))


def regex_patterns(text: str) -> list[str]:
    """All patterns that a regular expression stands for together. Raises NoPattern.

    >>> regex_patterns("(dev|test)-.*"), regex_patterns(r"node[12]\\.example\\.com"), regex_patterns("https?")
    (['dev-*', 'test-*'], ['node1.example.com', 'node2.example.com'], ['http', 'https'])
    """
    reader = _Reader(text)
    found = reader.alternatives()
    if not reader.done:
        raise NoPattern(f"the regular expression {text!r} has a bracket too many")
    wrong = [one for one in found if one.startswith("!")]
    if wrong:
        raise NoPattern(f"the text {wrong[0]!r} contains signs that patterns use")
    return found


class _Reader:
    """Reads a regular expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._text)

    def _next(self) -> str:
        return "" if self.done else self._text[self._at]

    def _take(self) -> str:
        if self.done:
            raise self._no("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _no(self, why: str) -> NoPattern:
        return NoPattern(f"the regular expression {self._text!r}: {why}")

    def alternatives(self) -> list[str]:
        found = self._sequence()
        while self._next() == "|":
            self._take()
            found += self._sequence()
        return self._bounded(found)

    def _sequence(self) -> list[str]:
        found = [""]
        while not self.done and self._next() not in "|)":
            more = self._repeated()
            found = self._bounded([first + second for first in found for second in more])
        return found

    def _bounded(self, found: list[str]) -> list[str]:
        if len(found) > MOST_PATTERNS:
            raise self._no(f"it stands for more than {MOST_PATTERNS} patterns")
        return found

    def _repeated(self) -> list[str]:
        sign = self._take()
        if sign in "^$":
            if (sign == "^") == (self._at == 1) and (sign == "^" or self.done):
                return [""]  # the whole value is matched anyway
            raise self._no(f"{sign!r} within it")
        one = ["?"] if sign == "." else self._one(sign)
        if self._next() not in tuple("*+?{"):
            return one
        how = self._take()
        if how == "?":
            return ["", *one]
        if one == ["?"] and how in "*+":
            return ["*"] if how == "*" else ["?*"]
        raise self._no("a repetition of more than any character")

    def _one(self, sign: str) -> list[str]:
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class()
        if sign == "\\":
            sign = self._take()
            if sign in _CLASSES or sign.isdigit():
                raise self._no(f"the class \\{sign}")
        elif sign in "*+?{}":
            raise self._no(f"{sign!r} after nothing")
        if sign in "*?":
            raise self._no(f"the sign {sign!r} itself, which patterns use")
        return [sign]

    def _group(self) -> list[str]:
        if self._next() == "?":
            self._take()
            if self._take() != ":":
                raise self._no("a group with flags")
        found = self.alternatives()
        if self._take() != ")":
            raise self._no("a bracket is not closed")
        return found

    def _class(self) -> list[str]:
        found: list[str] = []
        while (sign := self._take()) != "]":
            if sign in "^-\\[*?!":
                raise self._no("a class with ranges or signs")
            found.append(sign)
        if not found:
            raise self._no("an empty class")
        return found
