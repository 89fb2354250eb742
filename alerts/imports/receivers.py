"""Receivers of Alertmanager as ours. A secret becomes the name of an environment variable, which the user has to set. Pure."""

from __future__ import annotations

import re

from alerts.imports.notes import ImportProblem, Mapping, Notes, listed, mapped, truth

_HEARS_ENDS = {"webhook_configs": True, "pagerduty_configs": True, "slack_configs": False, "email_configs": False}
"""Whether an integration hears of ends unless it says otherwise; those that are not named here do."""
_SHOWN = re.compile(r"[^A-Z0-9]+")


def import_receivers(content: Mapping, notes: Notes) -> tuple[list[Mapping], frozenset[str]]:
    """The receivers, and the names of those that have no channel: nobody is told there. Raises ImportProblem."""
    made, silent = [], []
    settings = mapped(content.get("global"), "global")
    for receiver in (mapped(one, "receivers") for one in listed(content.get("receivers"), "receivers")):
        name = str(receiver.get("name") or "")
        if not name:
            raise ImportProblem("alertmanager: receivers: one has no name")
        configs = {
            key: [mapped(one, name) for one in listed(value, name)] for key, value in receiver.items() if key.endswith("_configs")
        }
        if any(configs.values()):
            made.append(_receiver(name, {key: found for key, found in configs.items() if found}, settings, notes))
        else:
            silent.append(name)
    return made, frozenset(silent)


def _receiver(name: str, configs: dict[str, list[Mapping]], settings: Mapping, notes: Notes) -> Mapping:
    place = f"receiver {name}"
    made: Mapping = {"name": name}
    if found := configs.get("slack_configs"):
        made["slack"] = _slack(found, settings, place, notes)
    if found := configs.get("email_configs"):
        made["email"] = {"to": list(dict.fromkeys(_addresses(found, place)))}
    if found := configs.get("webhook_configs"):
        made["webhook"] = _webhook(name, found, place, notes)
    if found := configs.get("pagerduty_configs"):
        made["pagerduty"] = _pagerduty(name, found, place, notes)
    others = [key.removesuffix("_configs") for key in configs if key not in _HEARS_ENDS]
    if others:
        made["apprise"] = _other(name, others, place, notes)
    _forms(configs, place, notes)
    ends = [truth(one.get("send_resolved", _HEARS_ENDS.get(key, True))) for key, found in configs.items() for one in found]
    if not any(ends):
        made["send_resolved"] = False
    elif not all(ends):
        notes.changed.append(f"{place}: all of its channels hear of ends, not only some")
    return made


def _slack(found: list[Mapping], settings: Mapping, place: str, notes: Notes) -> Mapping:
    channels = [str(one["channel"]) for one in found if one.get("channel")]
    _only_one(found, "slack", channels, place, notes)
    tokens = any(one.get("bot_token") or one.get("app_token") for one in found)
    hooks = {str(one.get("api_url") or one.get("api_url_file") or settings.get("slack_api_url") or "") for one in found}
    if tokens or len(hooks) > 1 or channels:
        notes.todo.append(
            f"set MODELWATCH_SLACK_BOT_TOKEN for {place} ({channels[0] if channels else 'slack'}); a webhook posts to its own channel only"
        )
    else:
        notes.todo.append(f"set MODELWATCH_SLACK_WEBHOOK_URL for {place}")
    return {"channel": channels[0]} if channels else {}


def _addresses(found: list[Mapping], place: str) -> list[str]:
    addresses = [one.strip() for config in found for one in str(config.get("to") or "").split(",") if one.strip()]
    if not addresses:
        raise ImportProblem(f"alertmanager: {place}: a mail without `to`")
    return [re.sub(r".*<([^>]+)>", r"\1", one) for one in addresses]


def _webhook(name: str, found: list[Mapping], place: str, notes: Notes) -> Mapping:
    _only_one(found, "webhook", [], place, notes)
    notes.changed.append(f"{place}: the webhook gets the JSON of docs/channels.md, which is not that of Alertmanager")
    if found[0].get("http_config"):
        notes.lost.append(f"{place}: webhook: http_config")
    if found[0].get("url_file"):
        return {"url_file": str(found[0]["url_file"])}
    variable = _variable(name, "WEBHOOK_URL")
    notes.todo.append(f"set {variable} to the address of the webhook of {place}")
    return {"url_env": variable}


def _pagerduty(name: str, found: list[Mapping], place: str, notes: Notes) -> Mapping:
    _only_one(found, "pagerduty", [], place, notes)
    if found[0].get("routing_key_file"):
        return {"routing_key_file": str(found[0]["routing_key_file"])}
    variable = _variable(name, "PAGERDUTY_KEY")
    older = "; its service_key is of an older interface, which needs another integration" if found[0].get("service_key") else ""
    notes.todo.append(f"set {variable} to the routing key (Events API v2) of {place}{older}")
    return {"routing_key_env": variable}


def _other(name: str, kinds: list[str], place: str, notes: Notes) -> Mapping:
    variable = _variable(name, "APPRISE_URL")
    notes.changed.append(f"{place}: {', '.join(kinds)} is told through Apprise, by one address")
    notes.todo.append(f"set {variable} to the address that Apprise has for {kinds[0]} of {place}")
    return {"url_env": variable}


def _only_one(found: list[Mapping], kind: str, names: list[str], place: str, notes: Notes) -> None:
    if len(found) > 1:
        rest = f" ({', '.join(names[1:])})" if names[1:] else ""
        notes.lost.append(
            f"{place}: only the first of {len(found)} {kind} configurations{rest}; give the others receivers of their own"
        )


def _forms(configs: dict[str, list[Mapping]], place: str, notes: Notes) -> None:
    """Texts and looks of messages."""
    plain = {"channel", "to", "url", "url_file", "send_resolved", "routing_key", "routing_key_file", "service_key", "http_config"}
    plain |= {"api_url", "api_url_file", "bot_token", "app_token"}
    for key, found in configs.items():
        given = sorted({name for one in found for name in one} - plain) if key in _HEARS_ENDS else []
        if given:
            notes.lost.append(f"{place}: {key}: {', '.join(given)}: messages have their own form here")


def _variable(name: str, what: str) -> str:
    """The environment variable of a secret: ``TEAM_X_PAGERDUTY_KEY``."""
    start = _SHOWN.sub("_", name.upper()).strip("_") or "RECEIVER"
    return f"{start if not start[0].isdigit() else '_' + start}_{what}"
