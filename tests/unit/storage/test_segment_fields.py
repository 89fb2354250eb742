"""Declared segment fields: what may be declared, and what a prediction says of them."""

from __future__ import annotations

import pytest

from storage.segment_fields import NO_SEGMENTS, SegmentFields
from storage.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("text", "names"), [("", ()), ("  ", ()), ("country", ("country",)), (" country , plan ", ("country", "plan"))]
)
def test_list_declares_its_fields_in_order(text: str, names: tuple[str, ...]) -> None:
    assert SegmentFields.parse(text).names == names


@pytest.mark.parametrize("text", ["a=b", "a,", ",", "a,,b", "a\tb,c", "a,b,a", "a,b,c,d,e,f,g,h,i"])
def test_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"declares|no name"):
        SegmentFields.parse(text)


def test_wrong_setting_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_SEGMENTS", "country,country")

    with pytest.raises(SettingsError, match="MODELWATCH_SEGMENTS is wrong: it declares country twice"):
        Settings.load()


def test_settings_give_the_fields_and_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_SEGMENTS", "country,plan")
    monkeypatch.setenv("MODELWATCH_SEGMENT_VALUES", "7")

    assert Settings.load().segment_fields == SegmentFields(names=("country", "plan"), most_values=7)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", []),
        ("device=phone", []),
        ("country=de,device=phone,plan=free", [("plan", "free"), ("country", "de")]),
        ("country=", [("country", "")]),
    ],
)
def test_prediction_says_its_declared_fields_in_the_order_of_the_declaration(text: str, given: list[tuple[str, str]]) -> None:
    fields = SegmentFields.parse("plan,country")

    assert fields.given(text) == given
    assert NO_SEGMENTS.given(text) == []
