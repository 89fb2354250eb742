"""`modelwatch alerts`: rules files, the channels, and the alerts there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import incidents, rehearsals
from cli.errors import CommandError
from cli.output import label_text, print_json, print_table, say
from cli.session import load_settings, read_database

app = typer.Typer(help="Rules, channels and alerts.", no_args_is_help=True, rich_markup_mode=None)
app.registered_commands += [*incidents.app.registered_commands, *rehearsals.app.registered_commands]


@app.command(epilog="Example: modelwatch alerts check rules.yml")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Rules files.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read rules files as the alerts service would, and show what each rule would say, and to whom; exit 1 if there is a mistake."""
    from alerts.check import check_rules
    from alerts.settings import AlertsSettings

    report = check_rules(files, load_settings(AlertsSettings))
    if json:
        print_json(report.to_json())
    else:
        print(report.text()) if report.ok else say(report.text())
    if not report.ok:
        raise typer.Exit(1)


@app.command("test-notify", epilog="Example: modelwatch alerts test-notify slack")
def test_notify(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A channel (slack, email …) or a receiver of the rules file.")],
) -> None:
    """Send a test message where alerts would go; exit 1 if it does not arrive."""
    from alerts.settings import AlertsSettings
    from alerts.testnotify import send_test

    outcome = send_test(load_settings(AlertsSettings), channel)
    if not outcome.delivered:
        raise CommandError(outcome.sentence)
    print(outcome.sentence)


@app.command("list", epilog="Example: modelwatch alerts list --all --json")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Resolved and inactive ones too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the alerts that are pending, firing or recovering."""
    from storage.alerts import load_alerts
    from storage.records import AlertState

    active = None if every else (AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING)
    with read_database() as connection:
        alerts = load_alerts(connection, states=active)
    fields = ("rule", "labels", "state", "value", "threshold", "pending_at", "fired_at", "resolved_at", "reason")
    if json:
        print_json([{"fingerprint": alert.fingerprint} | {field: getattr(alert, field) for field in fields} for alert in alerts])
        return
    print_table(
        ("rule", "for", "state", "value", "threshold", "since"),
        [
            [
                alert.rule,
                label_text(alert.labels),
                alert.state,
                alert.value,
                alert.threshold,
                alert.resolved_at or alert.fired_at or alert.pending_at,
            ]
            for alert in alerts
        ],
        empty="There are no alerts." if every else "No alert is active; --all shows the others.",
    )
