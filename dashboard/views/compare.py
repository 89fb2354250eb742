"""Two versions of a model: may they be compared, which is better, and how sure is that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from collector.statistics.comparison_json import from_json, to_json
from collector.statistics.health import MIXED_LEAST
from collector.statistics.trial import Comparison, Design, Difference, Outcome, Terms
from dashboard import charts, page, queries
from dashboard.texts import NOTHING, Texts, plain
from storage.records import Deployment, StoredComparison, Version
from storage.splits import share_of

SIGNS = {Outcome.SHIP: "✔", Outcome.ROLL_BACK: "✖", Outcome.KEEP_RUNNING: "…", Outcome.UNHEALTHY: "▲"}
DISTANCE = "score_ks"
"""The one metric that is no difference of two values but their distance."""
_ASKED = "compare_asked"


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
    texts, shown = context.texts, context.shown
    found = _found(context, a, b)
    if found is None:
        return
    if not any(side.rows for side in found.arms):
        page.empty(texts("empty.range"), texts("empty.range_compare"))
        return
    began = queries.split_began(a.model, a.version, b.version)
    start = found.start or shown.start
    share = None
    if began is not None and start >= began:
        share = share_of(context.registry.deployed.get(a.model), a.version, b.version)
    _verdict(context, found)
    said = [texts("compare.period", start=texts.time(start), end=texts.time(found.end))]
    if share is not None and start > shown.start:
        said.append(texts("compare.since_split", at=texts.time(start)))
    st.caption(" ".join(said))
    for note in found.notes:
        st.caption(plain(note))
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _arms(context, found, share)
        _beliefs(context, found)
    with right:
        _differences(context, found)
    page.details(context, lambda: _table(texts, found), "comparison")
    _method(context)


def _found(context: page.Context, a: Version, b: Version) -> Comparison | None:
    """The collector's last comparison where it answers for the time shown; else one made here, if that is quick or wanted."""
    kept = _kept(context, a, b)
    if kept is not None:
        return from_json(kept.document)
    shown = context.shown
    rows = sum(queries.prediction_counts(side.layout_id, side.version, shown.start, shown.end).rows for side in (a, b))
    if rows <= queries.FEW_ROWS:
        return _compared(a, b, shown.start, shown.end)
    address = [a.model, a.version, b.version, *(page.param(name) for name in ("range", "from", "to"))]
    asked = st.session_state.get(_ASKED)
    if asked is not None and asked[0] == address:
        return from_json(asked[1]) if isinstance(asked[1], dict) else _asked(a, b, address, asked[1])
    page.empty(context.texts("compare.many", rows=context.texts.number(rows)), context.texts("compare.many_advice"))
    st.button(context.texts("compare.ask"), on_click=_ask, args=(address, (shown.start, shown.end)), icon=":material/balance:")
    return None


def _kept(context: page.Context, a: Version, b: Version) -> StoredComparison | None:
    """What the collector keeps holds all of the present split. It answers a reader who chose no time, or more than that."""
    deployed, shown = context.registry.deployed.get(a.model), context.shown
    kept = queries.kept_comparison(a.model, a.version, b.version)
    if kept is None or deployed is None or kept.deployment_id != deployed.id:
        return None
    if not shown.is_live or kept.end <= shown.start:
        return None
    return None if page.param("range") and shown.start > kept.start else kept


def _ask(address: list[str | None], span: tuple[datetime, datetime]) -> None:
    st.session_state[_ASKED] = (address, span)


def _asked(a: Version, b: Version, address: list[str | None], span: tuple[datetime, datetime]) -> Comparison:
    """Computed once: the page may run again every few seconds, and shows the same answer until another time is chosen."""
    found = _compared(a, b, *span)
    st.session_state[_ASKED] = (address, to_json(found))
    return found


def _compared(a: Version, b: Version, start: datetime, end: datetime) -> Comparison:
    """From ``start``, or from when the split in force began: what was answered before was shared otherwise."""
    began = queries.split_began(a.model, a.version, b.version)
    since = None if began is not None and start <= began < end else start
    return from_json(queries.compared(a.layout_id, a.version, b.version, since, end))


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
            (texts("compare.subjects"), texts.number(a.subjects), texts.number(b.subjects)),
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
            _mixed(texts, found),
        ],
        (texts("compare.check"), "p", ""),
    )
    if found.design is Design.SHADOW:
        st.caption(texts("compare.shadow"))
    elif share is None:
        st.caption(texts("compare.no_split"))


def _mixed(texts: Texts, found: Comparison) -> tuple[str, str, str]:
    assignment = found.health.assignment
    if assignment is None or assignment.share is None:
        return texts("compare.mixed"), NOTHING, texts("compare.not_applicable")
    share = texts.percent(assignment.share, 2)
    too_many = assignment.share > found.terms.mixed_limit and assignment.both >= MIXED_LEAST
    verdict = f"▲ {texts('compare.suspicious')}" if too_many else f"✔ {texts('compare.fine')}"
    return texts("compare.mixed"), f"{texts.number(assignment.both)} ({share})", verdict


def _beliefs(context: page.Context, found: Comparison) -> None:
    """What else is known: how often both disagree, how probable it is that b is better, how long it may take."""
    texts, rows = context.texts, []
    if found.disagreement is not None:
        rows.append((texts("compare.disagreement"), texts.percent(found.disagreement.rate, 2)))
        rows.append((texts("compare.bound"), texts.number(found.disagreement.bound)))
    if found.posterior is not None:
        rows.append((texts("compare.posterior"), texts.percent(found.posterior.probability_b_better)))
        rows.append((texts("compare.loss"), texts.number(found.posterior.expected_loss)))
    if found.forecast is not None:
        more, wait = texts.number(found.forecast.labelled), texts.seconds(found.forecast.seconds)
        rows.append((texts("compare.forecast"), texts("compare.forecast_value", rows=more, time=wait)))
    if rows:
        page.facts(rows, (texts("compare.beliefs"), ""))


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
    if metric.name == DISTANCE:
        values = texts.number(metric.difference)
    return f"**{texts.word('metric', metric.name)}** {values} · {sign} {texts(word)}"


def _judgement(metric: Difference) -> tuple[str, str]:
    """The sign and the key of the words for what is known of a difference."""
    better, bounds = _better(metric), metric.sequential_interval
    if bounds is None:
        return "…", "compare.one_look"
    if metric.name == DISTANCE:
        return _likeness(bounds, metric.margin or 0.0)
    if better is None:
        return "…", "compare.undecided"
    if better:
        return "✔", "compare.better"
    return ("▲", "compare.worse_within") if metric.margin is not None and bounds[1] < metric.margin else ("✖", "compare.worse")


def _likeness(bounds: tuple[float, float], margin: float) -> tuple[str, str]:
    """A distance is never better or worse, and never surely 0."""
    if bounds[1] < margin:
        return "✔", "compare.alike"
    return ("▲", "compare.apart") if bounds[0] > margin else ("…", "compare.undecided")


def _better(metric: Difference) -> bool | None:
    """Whether b is surely better or worse, None while the always-valid interval holds 0 or there is none."""
    bounds = metric.sequential_interval
    if metric.name == DISTANCE or bounds is None or bounds[0] <= 0 <= bounds[1]:
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
                texts("compare.adjusted"): metric.adjusted_p_value,
                texts("compare.margin"): metric.margin,
                texts("compare.part"): texts.word("part", metric.part),
                texts("compare.test"): metric.method,
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
                subjects=terms.min_subjects,
                mixed=context.texts.percent(terms.mixed_limit, 0),
                error_margin=context.texts.percent(terms.error_rate_margin),
                latency_margin=context.texts.percent(terms.latency_margin_share, 0),
            )
        )


if __name__ == "__main__":  # as Streamlit runs it
    show()
