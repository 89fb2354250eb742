"""`modelwatch models`: the registry of models and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.deployments import deployment_json, describe
from cli.errors import CommandError, UsageProblem
from cli.output import print_json, print_table, say
from cli.session import actor, engine_of, load_settings, now, read_database, write_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.records import Feature, Model, Version

app = typer.Typer(help="The registry of models and their versions.", no_args_is_help=True, rich_markup_mode=None)
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="The version.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the history.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LATER_FORMATS = ("skops", "upstream")


@app.command(epilog="Example: modelwatch models register churn churn.onnx --reference train.csv --target churned")
def register(
    name: ModelName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model: .onnx, .joblib or .pkl.")],
    reference: Annotated[Path, typer.Option(help="CSV or Parquet with the rows the model was trained on.")],
    target: Annotated[str | None, typer.Option(help="The reference's column that the model predicts.")] = None,
    version: Annotated[str | None, typer.Option(help="Its name; 1, 2, 3 … by default.")] = None,
    format: Annotated[str, typer.Option(help="auto, onnx, joblib or pickle.")] = "auto",  # noqa: A002 - the name users see
    alias: Annotated[str | None, typer.Option(help="A second name such as staging.")] = None,
    allow_pickle: Annotated[bool, typer.Option(help="Accept joblib and pickle files: loading one runs the code in it.")] = False,
) -> None:
    """Verify, profile and store a version; the first version of a model is promoted at once."""
    from inference import registration
    from inference.settings import InferenceSettings
    from storage.deployments import current
    from storage.engine import reading

    if format in LATER_FORMATS:
        raise UsageProblem(f"--format {format} comes in a later version; use onnx, joblib or pickle.")
    settings = load_settings(InferenceSettings)
    with engine_of(settings) as engine:
        registered = registration.register(
            engine,
            settings,
            name,
            file,
            reference=reference,
            target=target,
            version=version,
            format=format,
            alias=alias,
            allow_pickle=allow_pickle,
            actor=actor(),
            now=now(),
        )
        with reading(engine) as connection:
            deployment = current(connection, name)
    print(
        f"Registered version {registered.version} of {name} ({registered.format}, {len(registered.signature.features)} features)."
    )
    if deployment:
        print(describe(deployment))


@app.command("list", epilog="Example: modelwatch models list")
def list_(json: Json = False) -> None:
    """List every model with its versions and the ones that answer."""
    from storage import deployments, registry

    with read_database() as connection:
        models = registry.list_models(connection)
        versions = registry.list_versions(connection)
        deployed = deployments.all_current(connection)
    listed = [_model_json(model, [version for version in versions if version.model == model.name]) for model in models]
    for entry in listed:
        deployment = deployed.get(str(entry["name"]))
        entry["champion"] = deployment.champion if deployment else None
        entry["challenger"] = deployment.challenger if deployment else None
    if json:
        print_json(listed)
        return
    print_table(
        ("name", "task", "versions", "champion", "challenger"),
        [[entry["name"], entry["task"], _names(entry["versions"]), entry["champion"], entry["challenger"]] for entry in listed],
        empty="No model is registered; `modelwatch models register --help` shows how.",
    )


@app.command(epilog="Example: modelwatch models show churn")
def show(name: ModelName, json: Json = False) -> None:
    """Show a model's versions, its newest signature and its deployment."""
    from storage import deployments, registry

    with read_database() as connection:
        model = require_model(connection, name)
        versions = registry.list_versions(connection, name)
        deployment = deployments.current(connection, name)
        trust = {version.version: _trust(connection, version) for version in versions if not version.archived_at}
    if json:
        content = _model_json(model, versions) | {"deployment": deployment_json(deployment) if deployment else None}
        print_json(content | {"false_alarms": trust})
        return
    print(f"{model.name} ({model.task})")
    print(describe(deployment) if deployment else "No version is deployed.")
    print()
    print_table(
        ("version", "format", "size", "registered", "by", "alias", "archived"),
        [
            [v.version, v.format, f"{v.size_bytes / 1024:.0f} KiB", v.created_at, v.created_by, v.alias, v.archived_at]
            for v in versions
        ],
        empty="It has no versions.",
    )
    if versions:
        print()
        features = versions[-1].signature.features
        print_table(
            ("feature", "type", "missing allowed", "range or categories"),
            [[feature.name, feature.type, feature.missing_allowed, _domain(feature)] for feature in features],
            empty="",
        )
    if trust:
        print()
        print_table(
            ("version", "false alarms a week at most", "independent tests a window", "dependent columns", "sorted columns"),
            [[version, *_trust_cells(found)] for version, found in trust.items()],
            empty="",
        )


@app.command(epilog="Example: modelwatch models history churn")
def history(name: ModelName, json: Json = False) -> None:
    """Show who changed what answers, when and why, newest first."""
    from storage import deployments

    with read_database() as connection:
        require_model(connection, name)
        rows = deployments.history(connection, name)
    if json:
        print_json([deployment_json(row) for row in rows])
        return
    print_table(
        ("at", "action", "mode", "champion", "challenger", "weight", "by", "reason"),
        [[r.at, r.action, r.mode, r.champion, r.challenger, r.weight, r.actor, r.reason or None] for r in rows],
        empty=f"No version of {name} was ever deployed.",
    )


@app.command(epilog="Example: modelwatch models verify churn 2")
def verify(name: ModelName, version: VersionName) -> None:
    """Load a version as the sidecar would and repeat its golden predictions; exit 1 if it is not what it was."""
    from inference import registration
    from inference.settings import InferenceSettings

    settings = load_settings(InferenceSettings)
    with engine_of(settings) as engine:
        result = registration.verify(engine, settings, name, version)
    for problem in result.problems:
        say(problem)
    if not result.is_ok:
        raise typer.Exit(1)
    print(f"Version {version} of {name} is unchanged: its digest and its golden predictions are those of its registration.")


@app.command(epilog="Example: modelwatch models promote churn 2 --reason 'better on July'")
def promote(name: ModelName, version: VersionName, reason: Reason = "") -> None:
    """Let one version answer all requests."""
    from storage import deployments

    with write_database() as connection:
        require_model(connection, name)
        deployment = deployments.promote(connection, name, version, actor=actor(), reason=reason, now=now())
    print(describe(deployment))


@app.command(epilog="Example: modelwatch models rollback churn --reason 'errors since noon'")
def rollback(name: ModelName, reason: Reason = "") -> None:
    """Go back to the version that answered before."""
    from storage import deployments

    with write_database() as connection:
        require_model(connection, name)
        deployment = deployments.rollback(connection, name, actor=actor(), reason=reason, now=now())
    print(describe(deployment))


@app.command(epilog="Example: modelwatch models archive churn 1 --reason 'superseded'")
def archive(name: ModelName, version: VersionName, reason: Reason = "") -> None:
    """Retire a version that does not answer any more; its rows and metrics stay."""
    from storage import audit, registry
    from storage.records import AuditEntry

    with write_database() as connection:
        require_version(connection, name, version)
        registry.archive_version(connection, name, version, now())
        entry = AuditEntry(at=now(), actor=actor(), action="archive", target=f"{name}/{version}", reason=reason)
        audit.record(connection, entry)
    print(f"Version {version} of {name} is archived.")


def require_model(connection: Connection, name: str) -> Model:
    """The model, or a CommandError that names the models there are."""
    from storage import registry

    model = registry.get_model(connection, name)
    if model is None:
        raise CommandError(f"There is no model {name}; {_known('models', [m.name for m in registry.list_models(connection)])}.")
    return model


def require_version(connection: Connection, name: str, version: str) -> Version:
    """The version, or a CommandError that names the versions there are."""
    from storage import registry

    require_model(connection, name)
    found = registry.get_version(connection, name, version)
    if found is None:
        versions = [v.version for v in registry.list_versions(connection, name)]
        raise CommandError(f"There is no version {version} of {name}; {_known('versions', versions)}.")
    return found


def _trust(connection: Connection, version: Version) -> dict[str, object]:
    """How many false alarms of drift to expect with the present settings, and what the version's reference says about it."""
    from collector.judging import number_of_tests
    from collector.settings import CollectorSettings
    from collector.statistics.calibration import calibration_from_json
    from storage import profiles, registry

    layout = registry.LayoutLookup(connection)(version.model, version.version)
    profile = profiles.load_profile(connection, version.model, version.version, layout)
    calibration = calibration_from_json(profile.thresholds if profile else {})
    by_window = CollectorSettings.load().judging.false_alarms_per_week(layout, calibration)
    return {
        "per_week": sum(by_window.values()),
        "by_window": by_window,
        "tests": number_of_tests(layout, calibration),
        "calibrated": calibration.tests is not None,
        "dependent": {name or "score": round(found.shift, 2) for name, found in calibration.columns.items() if found.lag},
        "sorted": [name or "score" for name in calibration.sorted_columns],
    }


def _trust_cells(found: dict[str, Any]) -> list[object]:
    windows = ", ".join(f"{name} {number:.2g}" for name, number in found["by_window"].items())
    tests = f"{found['tests']:.0f}" if found["calibrated"] else f"{found['tests']:.0f}, not calibrated"
    return [f"{found['per_week']:.2g} ({windows})", tests, ", ".join(found["dependent"]) or "-", ", ".join(found["sorted"]) or "-"]


def _known(what: str, names: list[str]) -> str:
    return f"the {what} are {', '.join(names)}" if names else f"there are no {what} yet"


def _names(versions: object) -> str:
    return ", ".join(str(version["version"]) for version in versions) if isinstance(versions, list) else ""


def _domain(feature: Feature) -> str:
    if feature.type == "category":
        shown = ", ".join(feature.categories[:6])
        return f"{shown} …" if len(feature.categories) > 6 else shown
    if feature.minimum is None or feature.maximum is None:
        return "-"
    return f"{feature.minimum:.6g} to {feature.maximum:.6g}"


def _model_json(model: Model, versions: list[Version]) -> dict[str, object]:
    return {
        "name": model.name,
        "task": str(model.task),
        "created_at": model.created_at,
        "versions": [_version_json(version) for version in versions],
    }


def _version_json(version: Version) -> dict[str, object]:
    return {
        "version": version.version,
        "format": str(version.format),
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "target": version.signature.target,
        "classes": list(version.signature.classes),
        "features": [{"name": feature.name, "type": str(feature.type)} for feature in version.signature.features],
        "alias": version.alias,
        "created_at": version.created_at,
        "created_by": version.created_by,
        "archived_at": version.archived_at,
    }
