"""The catalogues and the writing of numbers, times and names."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import dashboard
from dashboard.texts import LANGUAGES, NOTHING, Texts, catalogue, pick_language, pick_zone, plain

FOLDER = Path(dashboard.__file__).parent
USED = re.compile(r"""(?:texts|context\.texts)\(\s*"([a-z_0-9.]+)"|"((?:range|stale)\.[a-z]+)\"""")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_all_languages_have_the_same_keys_and_placeholders() -> None:
    english = catalogue("en")

    for language in LANGUAGES:
        other = catalogue(language)
        assert sorted(other) == sorted(english)
        assert {key: fields(text) for key, text in other.items()} == {key: fields(text) for key, text in english.items()}
        assert all(text.strip() for text in other.values())


def test_every_key_that_a_page_uses_is_in_the_catalogue() -> None:
    used = {first or second for path in FOLDER.rglob("*.py") for first, second in USED.findall(path.read_text(encoding="utf-8"))}

    assert used - set(catalogue("en")) == set()
    assert len(used) > 50


def test_an_unknown_key_shows_itself_instead_of_failing() -> None:
    assert Texts()("no.such.key") == "no.such.key"
    assert Texts(language="zh").word("state", "brand new") == "brand new"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, NOTHING),
        (float("nan"), NOTHING),
        (float("inf"), NOTHING),
        (0, "0"),
        (1234567, "1,234,567"),
        (0.41234, "0.412"),
        (1234.5, "1,234"),
        (0.00001, "1.0e-05"),
        (-0.5, "-0.500"),
    ],
)
def test_numbers_are_short_and_missing_ones_are_never_zero(value: float | None, shown: str) -> None:
    assert Texts().number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, NOTHING), (0.0000123, "12.3 µs"), (0.0042, "4.20 ms"), (1.5, "1.50 s"), (600, "10 min"), (86400 * 3, "3 d")],
)
def test_seconds_are_shown_in_the_unit_that_reads_best(value: float | None, shown: str) -> None:
    assert Texts().seconds(value) == shown


def test_the_unit_of_a_metric_follows_its_name() -> None:
    assert Texts().of_metric("drift_unseen", 0.272) == "27.2%"
    assert Texts().of_metric("drift_psi", 0.272) == "0.272"
    assert Texts().of_metric("latency_p95_seconds", 0.1) == "100 ms"


def test_times_are_shown_on_the_readers_clock() -> None:
    at = datetime(2026, 11, 21, 10, 0, 5, tzinfo=UTC)

    assert Texts(zone=pick_zone("Asia/Shanghai")).time(at) == "2026-11-21 18:00:05"
    assert Texts(zone=pick_zone("No/Where")).time(at) == "2026-11-21 10:00:05"
    assert Texts().time(None) == NOTHING
    assert Texts().span(timedelta(hours=26, minutes=5)) == "1 d 2 h"


def test_the_language_is_the_one_asked_for_else_the_browsers() -> None:
    assert pick_language("zh", "en-US") == "zh"
    assert pick_language(None, "zh-Hant-TW") == "zh"
    assert pick_language("tlh", "fr") == "en"


def test_names_of_others_are_no_markdown() -> None:
    assert plain("**a** [b](c) `d` $x$ :red[e] <f>") == r"\*\*a\*\* \[b\]\(c\) \`d\` \$x\$ \:red\[e\] \<f\>"
    assert "\u2060" in plain("see https://evil.example and a@b.example")
    assert plain("two\nlines") == "two lines"
