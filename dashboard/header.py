"""The top of every page: where one is, what is shown, of which time, and how fresh it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import charts, links, page, queries
from dashboard.settings import REFRESH_CHOICES
from dashboard.texts import LANGUAGES, Texts, pick_language, pick_zone, plain
from storage.durations import parse_duration
from storage.records import AlertState, JobRun

ICONS = {
    "overview": ":material/monitor_heart:",
    "drift": ":material/ssid_chart:",
    "performance": ":material/speed:",
    "compare": ":material/balance:",
    "alerts": ":material/notifications:",
}
PAGES_OF_A_VERSION = ("drift", "performance")
PAGES_OF_A_MODEL = (*PAGES_OF_A_VERSION, "compare")
CUSTOM = "custom"
_FULL_RUN = "modelwatch_full_run"


def read_texts() -> Texts:
    """The reader's language: from the address, else from the browser."""
    return Texts(language=pick_language(page.param("lang"), st.context.locale), zone=pick_zone(st.context.timezone))


def navigation(texts: Texts, here: str, firing: int) -> None:
    """The links to the pages, which carry the choices along, and the language."""
    with st.container(horizontal=True, vertical_alignment="center", key="navigation", gap="small"):
        st.markdown("**model**watch", width="content")
        for name in links.PAGES:
            badge = f" :red-badge[{firing}]" if name == "alerts" and firing else ""
            target = here if name == "overview" and not here else name  # so that the link is marked as the page one is on
            page.link(target, f"{texts(f'page.{name}')}{badge}", page.carried(), icon=ICONS[name])
        st.space("stretch")
        _language(texts)


def _language(texts: Texts) -> None:
    automatic = pick_language(None, st.context.locale)
    page.choose(
        "lang",
        texts("header.language"),
        list(LANGUAGES),
        automatic,
        show=lambda code: LANGUAGES[code],
        label_visibility="collapsed",
        width=110,
        filter_mode=None,
    )


def controls(texts: Texts, here: str, now: datetime) -> page.Context:
    """Model, version and time; makes the context of this run."""
    settings = queries.settings()
    registry = queries.read_registry()
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls", gap="small"):
        model = _model(texts, here, registry)
        version = _version(texts, here, registry, model)
        shown = _range(texts, here, model, registry, now)
        st.space("stretch")
        refresh = page.choose(
            "refresh",
            texts("header.refresh"),
            REFRESH_CHOICES,
            settings.dashboard_refresh,
            show=lambda choice: texts("header.off") if choice == "off" else choice,
            width=110,
            filter_mode=None,
        )
    palette = charts.DARK if st.context.theme.type == "dark" else charts.LIGHT
    context = page.Context(
        settings=settings, texts=texts, registry=registry, now=now, shown=shown, model=model, version=version, palette=palette
    )
    page.remember(context)
    _freshness(context)
    _keep_fresh(refresh)
    return context


def _model(texts: Texts, here: str, registry: queries.Registry) -> str | None:
    default = _busiest(registry)
    if here not in PAGES_OF_A_MODEL or default is None:
        return page.param("model") or default
    return page.choose(
        "model",
        texts("header.model"),
        registry.models,
        default,
        forget=("version", "feature", "a", "b"),
        width=200,
        unknown=texts("header.unknown"),
    )


def _busiest(registry: queries.Registry) -> str | None:
    """The model with the newest prediction, so that what opens first is what lives."""
    ends = {model: found[1] for model in registry.models if (found := queries.extent(model)) is not None}
    return max(ends, key=lambda model: ends[model]) if ends else next(iter(registry.models), None)


def _version(texts: Texts, here: str, registry: queries.Registry, model: str | None) -> str | None:
    versions = [version.version for version in registry.of(model or "")]
    deployed = registry.deployed.get(model or "")
    default = deployed.champion if deployed else next(iter(versions), None)
    if here not in PAGES_OF_A_VERSION or default is None:
        return page.param("version") or default
    roles = {default: texts("role.champion")} if deployed else {}
    if deployed and deployed.challenger:
        roles[deployed.challenger] = texts("role.challenger")
    return page.choose(
        "version",
        texts("header.version"),
        versions,
        default,
        show=lambda name: f"{name} · {roles[name]}" if name in roles else name,
        width=190,
        unknown=texts("header.unknown"),
    )


# ---------------------------------------------------------------------------------------------- time


def _range(texts: Texts, here: str, model: str | None, registry: queries.Registry, now: datetime) -> links.Range:
    models = registry.models if here in ("", "overview", "alerts") else (model,)
    extents = [found for name in models if name and (found := queries.extent(name))]
    default = links.fitting_preset((min(first for first, _ in extents), now) if extents else None, now)
    shown = links.resolve_range(st.query_params.to_dict(), default, now)
    st.session_state["choice_range"] = shown.preset or CUSTOM
    st.segmented_control(
        texts("header.range"),
        [*links.PRESETS, CUSTOM],
        required=True,
        key="choice_range",
        format_func=lambda name: texts("header.custom") if name == CUSTOM else name,
        on_change=_range_chosen,
        args=(default, shown),
    )
    if shown.preset is None:
        _custom(texts, shown)
    return shown


def _range_chosen(default: str, shown: links.Range) -> None:
    choice = st.session_state["choice_range"]
    if choice == CUSTOM:
        page.write_params({"range": None, "from": links.format_time(shown.start), "to": links.format_time(shown.end)})
    else:
        page.write_params({"range": None if choice == default else choice, "from": None, "to": None})


def _custom(texts: Texts, shown: links.Range) -> None:
    for name, at in (("from", shown.start), ("to", shown.end)):
        key = f"choice_{name}"
        st.session_state[key] = texts.local(at).replace(second=0, microsecond=0)
        st.datetime_input(
            texts(f"header.{name}"),
            key=key,
            on_change=_time_chosen,
            args=(name, texts),
            format="YYYY-MM-DD",
            step=timedelta(minutes=1),
            width=190,
        )


def _time_chosen(name: str, texts: Texts) -> None:
    picked = st.session_state[f"choice_{name}"]
    if picked is not None:
        page.write_params({name: links.format_time(picked.replace(tzinfo=texts.zone).astimezone(UTC))})


# ---------------------------------------------------------------------------------------------- freshness


def _freshness(context: page.Context) -> None:
    """How new the figures are, and a banner where they are not."""
    texts, shown = context.texts, context.shown
    runs = queries.job_runs()
    until = newest(runs)
    zone = str(context.texts.zone)
    span = f"{texts.time(shown.start)} → {texts.time(shown.end)}"
    st.caption(
        texts("header.as_of", span=span, zone=plain(zone), until=texts.clock(until) if until else "—", now=texts.clock(context.now))
    )
    if shown.problem:
        st.warning(texts(shown.problem, shown=shown.preset or ""), icon=":material/schedule:")
    if context.registry.versions:
        _stale(context, until, runs)


def newest(runs: Sequence[JobRun]) -> datetime | None:
    """The end of the newest window that the collector has written."""
    return max((run.done_until for run in runs if run.done_until is not None), default=None)


def _stale(context: page.Context, until: datetime | None, runs: Sequence[JobRun]) -> None:
    texts = context.texts
    failed = next((run for run in runs if run.error), None)
    if until is None:
        st.info(texts("stale.never"), icon=":material/hourglass_empty:")
    elif context.now - until > context.stale_after:
        st.warning(texts("stale.old", ago=texts.span(context.now - until)), icon=":material/update_disabled:")
    if failed is not None and failed.error:
        st.warning(
            texts("stale.failed", job=plain(failed.name), error=plain(failed.error.splitlines()[0])), icon=":material/error:"
        )


def _keep_fresh(refresh: str) -> None:
    """Runs the page again from time to time, unless the reader has switched that off."""
    if refresh == "off" or refresh not in REFRESH_CHOICES:
        return
    st.session_state[_FULL_RUN] = True
    st.fragment(_tick, run_every=parse_duration(refresh).total_seconds())()


def _tick() -> None:
    if st.session_state.pop(_FULL_RUN, False):
        return  # this is the full run itself, not the timer
    st.rerun(scope="app")


def firing() -> int:
    """How many alerts fire, for the badge."""
    return sum(alert.state in (AlertState.FIRING, AlertState.RECOVERING) for alert in queries.alert_rows())


def now() -> datetime:
    return datetime.now(UTC)
