"""The `modelwatch` command: wires the sub-commands together and turns errors into one sentence.

Each command imports the service it needs when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from cli import (
    alerting,
    comparison,
    constraints,
    database,
    deployments,
    doctor,
    drift,
    keys,
    labels,
    models,
    references,
    segments,
    services,
)
from cli.demo import command as demo
from cli.errors import EXIT_INTERRUPTED, EXIT_PROBLEM, EXIT_USAGE, exit_code_of


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"modelwatch {version('modelwatch')}")
        raise typer.Exit


app = typer.Typer(
    name="modelwatch",
    help="Serves ML models, logs every prediction, finds drift and tells people.",
    epilog="Example: modelwatch demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")] = False,
) -> None:
    """What holds for every command."""


for module in (services, demo, labels, comparison, drift, doctor):
    module.add_to(app)
constraints.add_to(models.app)
segments.add_to(models.app)
for name, group in (
    ("models", models.app),
    ("deploy", deployments.app),
    ("references", references.app),
    ("alerts", alerting.app),
    ("keys", keys.app),
    ("db", database.app),
):
    app.add_typer(group, name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a problem was found, 2 wrong usage or settings."""
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        return _fail("Interrupted.", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) left; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PROBLEM
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        return _fail(str(error), code)


def _run(arguments: list[str]) -> int:
    try:
        status = get_command(app).main(args=arguments, prog_name="modelwatch", standalone_mode=False)
    except typer.Abort:
        return _fail("Interrupted.", EXIT_INTERRUPTED)
    except TyperException as error:
        message = error.format_message().strip()
        return _fail(f"{message.rstrip('.')}. {_help_hint(error)}" if message else "", EXIT_USAGE)
    if status == EXIT_INTERRUPTED:  # typer has caught the KeyboardInterrupt itself
        return _fail("Interrupted.", EXIT_INTERRUPTED)
    return status if isinstance(status, int) else 0


def _help_hint(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'modelwatch'} --help` shows what is possible."


def _fail(sentence: str, code: int) -> int:
    if sentence:
        print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
