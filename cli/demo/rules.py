"""The rules of the demo, written into the home folder as a file that a person can read and change."""

from __future__ import annotations

from pathlib import Path

import yaml

from cli.demo.standins import MAILBOX, SLACK_CHANNEL

DRIFT_RULE = "FeatureDrift"
ACCURACY_RULE = "AccuracyDrop"


def builtin_rules(model: str, feature: str) -> dict[str, object]:
    """One rule on the feature that the injected shift moves most visibly, one on what it does to the predictions."""
    return _file(
        [
            {
                "alert": DRIFT_RULE,
                "metric": "drift_psi",
                "where": {"model": model, "feature": feature},
                "window": "10s",
                "when": "> 0.5",
                "resolve_when": "< 0.3",
                "for": "3s",
                "keep_firing_for": "3s",
                "min_samples": 100,
                "labels": {"severity": "warning"},
                "annotations": {"summary": "{{ feature }} of {{ model }} version {{ version }} drifted: PSI {{ value }}"},
            },
            {
                "alert": ACCURACY_RULE,
                "metric": "accuracy",
                "where": {"model": model},
                "window": "10s",
                "when": "< 0.9",
                "resolve_when": "> 0.92",
                "for": "3s",
                "keep_firing_for": "3s",
                "min_samples": 50,
                "labels": {"severity": "critical"},
                "annotations": {"summary": "Version {{ version }} of {{ model }} is right in only {{ value }} of its predictions"},
            },
        ]
    )


def table_rules(model: str) -> dict[str, object]:
    """For a table of the user's own: half of its features drifted, or one of them did, by the threshold of its own sample sizes."""
    return _file(
        [
            {
                "alert": "ManyFeaturesDrift",
                "metric": "drift_share",
                "where": {"model": model},
                "window": "30s",
                "when": "> 0.5",
                "resolve_when": "< 0.3",
                "for": "4s",
                "keep_firing_for": "4s",
                "min_samples": 100,
                "labels": {"severity": "warning"},
                "annotations": {"summary": "{{ value }} of the features of {{ model }} version {{ version }} drifted"},
            },
            {
                "alert": DRIFT_RULE,
                "metric": "drift_psi",
                "where": {"model": model, "feature": "*"},
                "window": "30s",
                "when": "> threshold",
                "resolve_when": "< 0.8 * threshold",
                "for": "6s",
                "keep_firing_for": "6s",
                "min_samples": 100,
                "labels": {"severity": "info"},
                "annotations": {"summary": "{{ feature }} of {{ model }} version {{ version }} drifted: PSI {{ value }}"},
            },
        ]
    )


def _file(rules: list[dict[str, object]]) -> dict[str, object]:
    return {
        "groups": [{"name": "demo", "interval": "1s", "rules": rules}],
        "routes": {
            "receiver": "oncall",
            "group_by": ["model", "alert"],
            "group_wait": "2s",
            "group_interval": "2s",
        },
        "receivers": [{"name": "oncall", "slack": {"channel": SLACK_CHANNEL}, "email": {"to": [MAILBOX]}}],
    }


def write(path: Path, rules: dict[str, object]) -> None:
    header = "# Written by `modelwatch demo`; every run of it writes this file again.\n"
    path.write_text(header + yaml.safe_dump(rules, sort_keys=False, allow_unicode=True), encoding="utf-8")
