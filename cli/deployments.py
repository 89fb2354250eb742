"""`modelwatch deploy`: which versions of a model answer, and with which share of the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import UsageProblem
from cli.output import print_fields, print_json
from cli.session import actor, now, read_database, write_database

if TYPE_CHECKING:
    from storage.records import Deployment, Mode

app = typer.Typer(help="Which versions of a model answer.", no_args_is_help=True, rich_markup_mode=None)
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]


@app.command(epilog="Example: modelwatch deploy show churn")
def show(model: ModelName, json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the deployment in force."""
    from cli.models import require_model
    from storage.deployments import current

    with read_database() as connection:
        require_model(connection, model)
        deployment = current(connection, model)
    if deployment is None:
        print_json(None) if json else print(
            f"No version of {model} is deployed; `modelwatch models promote {model} VERSION` deploys one."
        )
        return
    print_json(deployment_json(deployment)) if json else print_fields(deployment_json(deployment))


@app.command("set", epilog="Example: modelwatch deploy set churn --mode ab --champion 1 --challenger 2 --weight 0.5")
def set_(
    model: ModelName,
    mode: Annotated[str, typer.Option(help="single, ab or canary.")],
    champion: Annotated[str, typer.Option(help="The version that answers all requests but the challenger's.")],
    challenger: Annotated[str | None, typer.Option(help="The version under trial, for ab and canary.")] = None,
    weight: Annotated[float | None, typer.Option(help="The challenger's share of the subjects, 0 to 1.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
) -> None:
    """Change the deployment; the running services take it up within two seconds."""
    from cli.models import require_model
    from storage.deployments import deploy

    chosen = parse_mode(mode)
    share = check_share(chosen, challenger, weight)
    with write_database() as connection:
        require_model(connection, model)
        deployment = deploy(
            connection,
            model,
            mode=chosen,
            champion=champion,
            challenger=challenger,
            weight=share,
            actor=actor(),
            reason=reason,
            now=now(),
        )
    print(describe(deployment))


def parse_mode(text: str) -> Mode:
    """Raises UsageProblem with a sentence for anything but single, ab and canary."""
    from storage.records import Mode

    if text == "shadow":
        raise UsageProblem("Shadow deployments come in a later version; use ab or canary with a small --weight meanwhile.")
    try:
        return Mode(text)
    except ValueError:
        raise UsageProblem(f"--mode {text} is not one of single, ab and canary.") from None


def check_share(mode: Mode, challenger: str | None, weight: float | None) -> float:
    """The challenger's share; raises UsageProblem where mode, challenger and weight do not fit together."""
    if mode == "single":
        if challenger or weight:
            raise UsageProblem("--mode single takes no --challenger and no --weight; use ab or canary for two versions.")
        return 0.0
    if not challenger or weight is None:
        raise UsageProblem(f"--mode {mode} needs --challenger VERSION and --weight between 0 and 1.")
    if not 0 <= weight <= 1:
        raise UsageProblem(f"--weight {weight:g} is not between 0 and 1.")
    return weight


def describe(deployment: Deployment) -> str:
    """The deployment in one sentence."""
    if deployment.challenger is None or deployment.mode == "single":
        return f"Version {deployment.champion} of {deployment.model} answers all requests."
    return (
        f"Version {deployment.champion} of {deployment.model} answers {1 - deployment.weight:.0%} of the subjects, "
        f"version {deployment.challenger} {deployment.weight:.0%} ({deployment.mode})."
    )


def deployment_json(deployment: Deployment) -> dict[str, object]:
    return {
        "model": deployment.model,
        "mode": str(deployment.mode),
        "champion": deployment.champion,
        "challenger": deployment.challenger,
        "weight": deployment.weight,
        "at": deployment.at,
        "actor": deployment.actor,
        "action": deployment.action,
        "reason": deployment.reason,
    }
