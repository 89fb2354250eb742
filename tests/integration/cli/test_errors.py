"""Mistakes end in one sentence on standard error, with the right status and without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("modls",), 2, "No such command 'modls'"),
        (("models", "show"), 2, "Missing argument 'NAME'. `modelwatch models show --help` shows what is possible."),
        (("models", "list", "--jsn"), 2, "No such option: --jsn"),
        (("deploy", "set", "churn", "--mode", "shadow", "--champion", "1"), 2, "Shadow deployments come in a later version"),
        (("keys", "create", "--scope", "all"), 2, "--scope all is not one of predict, read, admin."),
        (("demo", "--csv", "x.csv"), 2, "--csv FILE and --target COL belong together"),
        (("demo", "--time", "day"), 2, "--time COL orders the rows of a --csv FILE"),
        (("demo", "--csv", "nowhere.csv", "--target", "y"), 1, "There is no file nowhere.csv."),
        (("models", "register", "churn", "m.skops", "--reference", "r.csv", "--format", "skops"), 2, "comes in a later version"),
    ],
)
def test_mistake_ends_in_one_sentence(run_command: Run, arguments: tuple[str, ...], status: int, sentence: str) -> None:
    result = run_command(*arguments)

    assert result.status == status
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert sentence in result.err


def test_wrong_setting_is_named(run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_ROLLUP_SECONDS", "soon")

    result = run_command("models", "list")

    assert result.status == 2
    assert "MODELWATCH_ROLLUP_SECONDS is wrong" in result.err


def test_unreachable_database_is_told(run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_DATABASE_URL", "postgresql://somebody:opensesame@127.0.0.1:1/none")

    result = run_command("models", "list")

    assert result.status == 1
    assert "cannot be used" in result.err
    assert "opensesame" not in result.err


def test_misspelt_variable_and_key_are_warned_about(
    run_command: Run, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELWATCH_DATABASE_ULR", sqlite_url)
    (tmp_path / "modelwatch.toml").write_text("inferense_port = 8080\nmodelwatch_workers = 2\n", encoding="utf-8")

    result = run_command("models", "list")

    assert result.status == 0
    assert result.err.splitlines() == [
        "Warning: MODELWATCH_DATABASE_ULR is not a setting and is ignored; did you mean MODELWATCH_DATABASE_URL?",
        "Warning: modelwatch.toml sets inferense_port, which is not a setting and is ignored; did you mean inference_port?",
    ]


def test_rules_files_are_checked_with_every_mistake(run_command: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text("groups: [{name: g, rules: [{alert: A, metric: drift_psi, when: '> 0.2'}]}]", encoding="utf-8")
    bad.write_text("groups: [{name: g, rules: [{alert: A, metric: drift_psi, when: 0.2, fro: 1m}]}]", encoding="utf-8")

    fine, wrong = run_command("alerts", "check", good), run_command("alerts", "check", good, bad, tmp_path / "none.yml")

    assert fine.status == 0
    assert f"{good}: 1 rules" in fine.out
    assert wrong.status == 1
    assert wrong.err.count(f"{bad}:") == 2
    assert "none.yml: it cannot be read (No such file or directory)" in wrong.err
