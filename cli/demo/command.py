"""`modelwatch demo`: its options, and what it prints."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import setting_names
from cli.errors import UsageProblem
from cli.output import print_json, say

if TYPE_CHECKING:
    from cli.demo.progress import Narrator
    from cli.demo.story import Scene
    from cli.demo.traffic import Traffic

LONGEST_NAME = 63


def add_to(app: typer.Typer) -> None:
    """Hang the command into the application."""
    app.command("demo", epilog="Example: modelwatch demo --csv customers.csv --target churned --time signed_up")(demo)


def demo(
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of your own, CSV or Parquet, instead of the built-in data.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COL", help="The column to predict; needed with --csv.")] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COL", help="The column that orders the rows; their order in the file otherwise.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when the story is over, instead of serving on until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")] = False,
    exit_after: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Stop this long after the story is over.")
    ] = None,
) -> None:
    """Show the whole story: two models, live traffic over HTTP, a drift that is found, told to Slack and by mail, and resolved.

    Slack and mailbox are stand-ins that the demo starts itself; nothing leaves this machine.
    """
    if (csv is None) != (target is None):
        raise UsageProblem("--csv FILE and --target COL belong together; give both, or neither for the built-in data.")
    if time is not None and csv is None:
        raise UsageProblem("--time COL orders the rows of a --csv FILE; the built-in data has no time.")
    _interrupt_on_terminate()
    for warning in setting_names.warnings():
        say(f"Warning: {warning}")
    # Two cores are shared by all services: threads of one library's that wait for each other cost more than they bring.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from cli.demo.progress import Narrator

    narrator = Narrator()

    def tell(found: dict[str, Any]) -> None:
        if json:
            print_json(found)
        _tell_places(narrator, found)

    def linger(scene: Scene, traffic: Traffic) -> None:
        _linger(scene, traffic, narrator, exit_after)

    keep = None if once else linger
    if csv is None or target is None:
        from cli.demo.story import run_builtin

        run_builtin(narrator, tell, keep)
    else:
        from cli.demo.story import run_table
        from cli.demo.tables import prepare
        from storage.tables import read_table

        with narrator.step(f"Reading {csv} …"):
            prepared = prepare(read_table(csv), target, time)
        run_table(prepared, model_name(csv.stem, target), narrator, tell, keep)


def model_name(*parts: str) -> str:
    """A valid model name from a file's and a column's name.

    >>> model_name("Kunden 2026", "Gekündigt?")
    'kunden-2026-gek-ndigt'
    """
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return (text or "table")[:LONGEST_NAME].rstrip("-")


def _tell_places(narrator: Narrator, found: dict[str, Any]) -> None:
    told = found["notifications"]
    narrator.say(
        f"{found['predictions']} predictions, {len(found['alerts'])} alerts, {told['slack']} messages in Slack, {told['email']} in the mailbox."
    )
    for name, url in found["urls"].items():
        narrator.say(f"  {name}: {url}")


def _linger(scene: Scene, traffic: Traffic, narrator: Narrator, exit_after: float | None) -> None:
    """Serve on until Ctrl-C, or for so many seconds."""
    end = None if exit_after is None else time.monotonic() + exit_after
    sending = "with light traffic" if traffic.is_alive() else "without further traffic, because every row was sent once"
    narrator.say(f"The stack serves on, {sending}; Ctrl-C stops it.")
    try:
        while end is None or time.monotonic() < end:
            scene.stack.check()
            traffic.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        narrator.say("Stopping.")


def _interrupt_on_terminate() -> None:
    """SIGTERM stops the demo as Ctrl-C does, services included."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
