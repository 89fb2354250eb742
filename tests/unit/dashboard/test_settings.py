"""What the dashboard refuses to start with."""

from __future__ import annotations

import pytest

from dashboard.settings import DashboardSettings
from storage.settings import SettingsError


def test_another_address_than_loopback_is_refused_in_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"MODELWATCH_HOST is 0\.0\.0\.0, and the dashboard has no sign-in"):
        DashboardSettings.load(host="0.0.0.0")


def test_a_trusted_network_may_use_any_address() -> None:
    assert DashboardSettings.load(host="0.0.0.0", trusted_network=True).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("name", "value"), [("dashboard_refresh", "often"), ("dashboard_stale_after", "soon"), ("dashboard_port", 0)]
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"MODELWATCH_{name.upper()} is wrong"):
        DashboardSettings.load(**{name: value})
