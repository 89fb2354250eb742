"""API keys are shown once and known by their hash."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from storage.engine import writing
from storage.keys import any_active, authenticate, create_key, list_keys, revoke
from storage.records import Scope
from storage.schema import api_keys
from tests.factories import at


def test_a_key_is_known_by_its_text(engine: Engine) -> None:
    with writing(engine) as c:
        assert not any_active(c)
        texts = [create_key(c, scope, f"for {scope}", at()) for scope in Scope]

        found = [authenticate(c, text) for text in texts]
        assert [key.scope for key in found if key is not None] == list(Scope)
        assert any_active(c)
    assert all(text.startswith("mw_") for text in texts)


def test_the_secret_is_not_in_the_database(engine: Engine) -> None:
    with writing(engine) as c:
        text = create_key(c, Scope.ADMIN, "", at())
        secret = text.split("_", 2)[2]

        [row] = c.execute(select(api_keys)).all()
    assert secret not in repr(tuple(row))
    assert len(secret) >= 40


@pytest.mark.parametrize(
    "change",
    [lambda t: t + "x", lambda t: t[:-1], lambda t: t.replace("mw_", "xx_"), lambda t: "", lambda t: "mw__", lambda t: "mw_0_" + t.split("_", 2)[2],
     lambda t: "_".join(t.split("_")[:2]), lambda t: t.upper(), lambda t: "mw_\0_x", lambda t: t + "\ud800", lambda t: "ключ"],
)  # fmt: skip
def test_any_other_text_is_no_key(engine: Engine, change: object) -> None:
    with writing(engine) as c:
        text = create_key(c, Scope.READ, "", at())

        assert authenticate(c, change(text)) is None  # type: ignore[operator]
        assert authenticate(c, text) is not None


def test_a_revoked_key_is_none(engine: Engine) -> None:
    with writing(engine) as c:
        text = create_key(c, Scope.READ, "ci", at())
        [key] = list_keys(c)

        assert revoke(c, key.id, at(5)) is True
        assert revoke(c, key.id, at(6)) is False
        assert revoke(c, "none", at(6)) is False
        assert authenticate(c, text) is None
        assert not any_active(c)
        [revoked] = list_keys(c)
    assert (revoked.revoked_at, revoked.note, revoked.scope) == (at(5), "ci", Scope.READ)
