"""What a command says when it cannot do what was asked: one sentence, and an exit status."""

from __future__ import annotations

EXIT_PROBLEM = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot go on; the message is the sentence for the person who typed it."""

    exit_code = EXIT_PROBLEM


class UsageProblem(CommandError):
    """An argument or option is wrong in a way that only the command itself can know."""

    exit_code = EXIT_USAGE


EXIT_CODES = {
    "storage.settings.SettingsError": EXIT_USAGE,
    "storage.engine.DatabaseUnavailable": EXIT_PROBLEM,
    "storage.migrate.SchemaMismatch": EXIT_PROBLEM,
    "storage.tables.TableError": EXIT_PROBLEM,
    "storage.constraint_files.ConstraintsError": EXIT_PROBLEM,
    "storage.deployments.DeploymentError": EXIT_PROBLEM,
    "storage.predictions.UnknownVersion": EXIT_PROBLEM,
    "storage.registry.RegistryError": EXIT_PROBLEM,
    "storage.resolution.WindowTooFine": EXIT_PROBLEM,
    "storage.archived.ArchiveError": EXIT_PROBLEM,
    "storage.retention.RetentionBusy": EXIT_PROBLEM,
    "inference.registration.RegistrationError": EXIT_PROBLEM,
    "alerts.rules.RulesError": EXIT_USAGE,
    "alerts.ruletest_text.RuleTestsError": EXIT_USAGE,
    "alerts.imports.notes.ImportProblem": EXIT_PROBLEM,
}
"""By name, so that telling an error costs no import of the package that raises it."""


def exit_code_of(error: BaseException) -> int | None:
    """The exit status of an error whose message is meant for people; None for a fault of modelwatch itself."""
    if isinstance(error, CommandError):
        return error.exit_code
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((EXIT_CODES[name] for name in names if name in EXIT_CODES), None)
