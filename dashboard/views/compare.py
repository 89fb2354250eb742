"""Two versions of a model: may they be compared, which is better, and how sure is that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from collector.statistics.comparison import Arm, Comparison, Difference, Outcome, Terms, arm, compare
from dashboard import charts, page, queries
from dashboard.texts import NOTHING, Texts, plain
from storage.records import Deployment, Version
from storage.splits import share_of

SIGNS = {Outcome.SHIP: "✔", Outcome.ROLL_BACK: "✖", Outcome.KEEP_RUNNING: "…", Outcome.UNHEALTHY: "▲"}
SHARES = ("accuracy", "error_rate", "precision", "recall", "f1", "roc_auc")


def show() -> None:
    context = page.current()
    texts = context.texts
    versions = context.registry.of(context.model or "")
    if not versions:
        page.empty(texts("empty.model", model=plain(context.model or "")), texts("empty.model_advice"))
        return
    if len(versions) < 2:
        command = f"modelwatch models register {context.model} model.joblib --reference train.csv"
        page.empty(
            texts("empty.second"),
            texts("empty.second_advice"),
            (command, f"modelwatch deploy set {context.model} --mode ab --champion 1 --challenger 2 --weight 0.5"),
        )
        return
    a, b = _choose(context, versions)
    if a is None or b is None or a.version == b.version:
        page.empty(texts("empty.pair"), texts("empty.pair_advice"))
        return
    if a.layout_id != b.layout_id:
        page.empty(texts("empty.schema"), texts("empty.schema_advice"))
        return
    with page.panel(context):
        _result(context, a, b)


def _choose(context: page.Context, versions: Sequence[Version]) -> tuple[Version | None, Version | None]:
    texts = context.texts
    names = [version.version for version in versions]
    deployed = context.registry.deployed.get(context.model or "")
    first = deployed.champion if deployed else names[-1]
    others = [name for name in names if name != first]
    second = deployed.challenger if deployed and deployed.challenger else others[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = [
            page.choose(
                key,
                texts(f"compare.{key}"),
                names,
                default,
                width=240,
                unknown=texts("header.unknown"),
                show=lambda name: _role(texts, name, deployed),
            )
            for key, default in (("a", first), ("b", second))
        ]
    return context.registry.get(context.model, chosen[0]), context.registry.get(context.model, chosen[1])


def _role(texts: Texts, name: str, deployed: Deployment | None) -> str:
    if deployed and name == deployed.champion:
        return f"{name} · {texts('role.champion')}"
    return f"{name} · {texts('role.challenger')}" if deployed and name == deployed.challenger else name


def _result(context: page.Context, a: Version, b: Version) -> None:
    start, end = context.shown.start, context.shown.end
    began = queries.split_began(a.model, a.version, b.version)
    share = None
    if began is not None and began < end:
        # What was answered before the split was shared otherwise: it would fail the sample ratio and mix two times.
        share = share_of(context.registry.deployed.get(a.model), a.version, b.version)
        start = max(start, began)
    arms = [_arm(version, start, end) for version in (a, b)]
    if not any(found.rows for found in arms):
        page.empty(context.texts("empty.range"), context.texts("empty.range_compare"))
        return
    found = compare(arms[0], arms[1], expected_share_b=share)
    _verdict(context, found)
    if start > context.shown.start:
        st.caption(context.texts("compare.since_split", at=context.texts.time(start)))
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _arms(context, found, share)
    with right:
        _differences(context, found)
    page.details(context, _table(context.texts, found), "comparison")
    _method(context)


def _arm(version: Version, start: datetime, end: datetime) -> Arm:
    predictions = queries.prediction_counts(version.layout_id, version.version, start, end)
    labels = queries.label_counts(version.layout_id, version.version, start, end)
    return arm(version.version, queries.layout(version.layout_id), predictions, labels)


def _verdict(context: page.Context, found: Comparison) -> None:
    texts = context.texts
    outcome = Outcome(found.verdict)
    title = f"{SIGNS[outcome]} {texts.word('outcome', outcome)}"
    body = texts(f"outcome.{outcome.replace(' ', '_')}_text", a=plain(found.arms[0].version), b=plain(found.arms[1].version))
    reasons = "\n".join(f"- {plain(reason)}" for reason in found.reasons)
    strip = {Outcome.SHIP: st.success, Outcome.ROLL_BACK: st.error, Outcome.UNHEALTHY: st.warning}.get(outcome, st.info)
    strip(f"{body}\n\n{reasons}", title=title)


def _arms(context: page.Context, found: Comparison, share: float | None) -> None:
    texts = context.texts
    a, b = found.arms
    page.section(texts("compare.health"))
    total = a.rows + b.rows
    page.facts(
        [
            (texts("column.predictions"), texts.number(a.rows), texts.number(b.rows)),
            (texts("compare.share"), *(texts.percent(side.rows / total if total else None) for side in (a, b))),
            (
                texts("compare.agreed"),
                *(texts.percent(part) for part in ((1 - share, share) if share is not None else (None, None))),
            ),
            (texts("compare.labelled"), texts.number(a.labelled), texts.number(b.labelled)),
            (texts("performance.coverage"), texts.percent(found.health.coverage_a), texts.percent(found.health.coverage_b)),
            (texts("compare.failures"), texts.number(a.failures), texts.number(b.failures)),
        ],
        ("", f"A · {a.version}", f"B · {b.version}"),
    )
    page.facts(
        [
            _check(texts, "compare.sample_ratio", found.health.sample_ratio_p),
            _check(texts, "compare.sample_ratio_sequential", found.health.sequential),
            _check(texts, "compare.coverage_test", found.health.coverage_p),
        ],
        (texts("compare.check"), "p", ""),
    )
    if share is None:
        st.caption(texts("compare.no_split"))


def _check(texts: Texts, key: str, p: float | None) -> tuple[str, str, str]:
    if p is None:
        return texts(key), NOTHING, texts("compare.not_applicable")
    return texts(key), texts.number(p), f"▲ {texts('compare.suspicious')}" if p < 0.001 else f"✔ {texts('compare.fine')}"


def _differences(context: page.Context, found: Comparison) -> None:
    texts = context.texts
    a, b = found.arms
    page.section(texts("compare.differences"), texts("compare.differences_note", a=plain(a.version), b=plain(b.version)))
    names = (texts("compare.fixed"), texts("compare.sequential"))
    for metric in found.metrics.values():
        if metric.difference is None or (metric.interval is None and metric.sequential_interval is None):
            continue
        with st.container(key=f"difference_{metric.name}", gap=None):
            st.markdown(_headline(texts, metric))
            figure = charts.effect(_effect(texts, metric), names, context.palette)
            page.chart(figure, f"effect_{metric.name}", plain(_headline(texts, metric)))


def _headline(texts: Texts, metric: Difference) -> str:
    sign, word = _judgement(metric)
    values = f"{_value(texts, metric.name, metric.a)} → {_value(texts, metric.name, metric.b)}"
    return f"**{texts.word('metric', metric.name)}** {values} · {sign} {texts(word)}"


def _judgement(metric: Difference) -> tuple[str, str]:
    """The sign and the key of the words for what is known of a difference."""
    better, bounds = _better(metric), metric.sequential_interval
    if bounds is None:
        return "…", "compare.one_look"
    if better is None:
        return "…", "compare.undecided"
    if better:
        return "✔", "compare.better"
    return ("▲", "compare.worse_within") if metric.margin is not None and bounds[1] < metric.margin else ("✖", "compare.worse")


def _better(metric: Difference) -> bool | None:
    """Whether b is surely better or worse, None while the always-valid interval holds 0 or there is none."""
    bounds = metric.sequential_interval
    if bounds is None or bounds[0] <= 0 <= bounds[1]:
        return None
    return (bounds[1] < 0) == metric.less_is_better


def _value(texts: Texts, name: str, value: float | None) -> str:
    if name == "error_rate":
        return texts.percent(value, 2)
    return texts.seconds(value) if name.endswith("_seconds") else texts.number(value)


def _effect(texts: Texts, metric: Difference) -> charts.Effect:
    factor = 1000.0 if metric.name.endswith("_seconds") else 1.0
    scaled = [
        None if bounds is None else (bounds[0] * factor, bounds[1] * factor)
        for bounds in (metric.interval, metric.sequential_interval)
    ]
    return charts.Effect(
        name=texts.word("metric", metric.name),
        difference=(metric.difference or 0.0) * factor,
        interval=scaled[0],
        sequential=scaled[1],
        margin=metric.margin * factor if metric.margin is not None else None,
        better=_better(metric),
        tick_format="+.1%" if metric.name == "error_rate" else "+.3~g",
    )


def _table(texts: Texts, found: Comparison) -> pd.DataFrame:
    rows = []
    for metric in found.metrics.values():
        fixed, sequential = metric.interval or (None, None), metric.sequential_interval or (None, None)
        rows.append(
            {
                texts("column.metric"): texts.word("metric", metric.name),
                f"A · {found.arms[0].version}": metric.a,
                f"B · {found.arms[1].version}": metric.b,
                texts("compare.difference"): metric.difference,
                f"{texts('compare.fixed')} ({texts('word.lower')})": fixed[0],
                f"{texts('compare.fixed')} ({texts('word.upper')})": fixed[1],
                f"{texts('compare.sequential')} ({texts('word.lower')})": sequential[0],
                f"{texts('compare.sequential')} ({texts('word.upper')})": sequential[1],
                texts("column.p_value"): metric.p_value,
                texts("compare.margin"): metric.margin,
                "n A": metric.n_a,
                "n B": metric.n_b,
            }
        )
    return pd.DataFrame(rows)


def _method(context: page.Context) -> None:
    terms = Terms()
    with st.expander(context.texts("compare.method"), icon=":material/functions:"):
        st.markdown(
            context.texts(
                "compare.method_text",
                level=f"{1 - terms.alpha:.0%}",
                horizon=context.texts.number(terms.horizon),
                labels=terms.min_labels,
                error_margin=context.texts.percent(terms.error_rate_margin),
                latency_margin=context.texts.percent(terms.latency_margin_share, 0),
            )
        )


if __name__ == "__main__":  # as Streamlit runs it
    show()
