"""`modelwatch alerts`: rules files, the channels, and the alerts there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_json, print_table, say
from cli.session import read_database

app = typer.Typer(help="Rules, channels and alerts.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: modelwatch alerts check rules.yml")
def check(files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Rules files.")]) -> None:
    """Read rules files as the alerts service would; exit 1 if one of them has a mistake."""
    problems = [problem for file in files for problem in _check_file(file)]
    if problems:
        raise typer.Exit(1)


def _check_file(file: Path) -> list[str]:
    """Every problem of one file, said on standard error; warnings are said and are no problems."""
    from alerts.rules import RulesError, parse_rules

    try:
        rules = parse_rules(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        problems = [f"{file} cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8 text'})."]
    except RulesError as error:
        problems = [f"{file}: {problem}" for problem in error.problems]
    else:
        for warning in rules.warnings:
            say(f"Warning: {file}: {warning}")
        print(f"{file}: {len(rules.rules)} rules are fine.")
        return []
    for problem in problems:
        say(problem)
    return problems


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
                " ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()) if name != "alertname"),
                alert.state,
                alert.value,
                alert.threshold,
                alert.resolved_at or alert.fired_at or alert.pending_at,
            ]
            for alert in alerts
        ],
        empty="There are no alerts." if every else "No alert is active; --all shows the others.",
    )
