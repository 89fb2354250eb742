"""What all pages share: the reader's choices (kept in the address), and the parts that pages are built from.

The address is the truth. A control shows what the address says, and a change of it is written there, so that every
page can be linked to and Back undoes the last choice.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, links
from dashboard.queries import Registry
from dashboard.settings import DashboardSettings
from dashboard.texts import NOTHING, Texts, plain
from storage.durations import parse_duration
from storage.engine import DatabaseUnavailable
from storage.migrate import SchemaMismatch
from storage.records import Version
from storage.resolution import WindowTooFine
from storage.settings import SettingsError

log = logging.getLogger(__name__)

HOME = "views/home.py"
PAGE_FILES = {name: f"views/{name}.py" for name in links.PAGES}
EXPECTED_ERRORS = (DatabaseUnavailable, SchemaMismatch, SettingsError)
"""Their messages are sentences for the reader."""
_CONTEXT = "modelwatch_context"
_CARRIED = ("model", "version", "range", "from", "to", "lang", "refresh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who looks at what: one run of one page."""

    settings: DashboardSettings
    texts: Texts
    registry: Registry
    now: datetime
    shown: links.Range
    model: str | None
    version: str | None
    palette: charts.Palette

    @property
    def selected(self) -> Version | None:
        """The chosen version, None where there is no such version."""
        return self.registry.get(self.model, self.version)

    @property
    def stale_after(self) -> timedelta:
        return parse_duration(self.settings.dashboard_stale_after)

    def steps(self, most: int = links.MAX_STEPS) -> tuple[int, datetime, datetime]:
        """Width, start and end of the points of a line over the time shown."""
        step = links.step_seconds(self.shown.length, self.settings.rollup_seconds, most)
        return step, *links.aligned(self.shown, step)


def remember(context: Context) -> None:
    st.session_state[_CONTEXT] = context


def current() -> Context:
    """The context that ``dashboard.header`` made in this run."""
    context: Context = st.session_state[_CONTEXT]
    return context


# ---------------------------------------------------------------------------------------------- choices in the address


def param(name: str) -> str | None:
    """What the address says, None where it says nothing."""
    return st.query_params.get(name) or None


def write_params(changes: Mapping[str, str | None]) -> None:
    """Changes the address in one step; None takes a parameter away."""
    st.query_params.from_dict(links.ordered({**st.query_params.to_dict(), **changes}))


def carried(**changes: str | None) -> dict[str, str]:
    """The parameters that go along to another page."""
    kept = {name: value for name, value in st.query_params.to_dict().items() if name in _CARRIED}
    return links.ordered({**kept, **changes})


def choose(
    name: str,
    label: str,
    options: Sequence[str],
    default: str,
    *,
    show: Callable[[str], str] = str,
    forget: Sequence[str] = (),
    segmented: bool = False,
    unknown: str = "",
    **options_of_widget: Any,
) -> str:
    """A control for one parameter of the address. A value that is not among the options stays, and is shown as ``unknown``.

    ``forget``: parameters that make no sense any more once this one changes.
    """
    value = param(name) or default
    offered = [*options, *([] if value in options else [value])]
    key = f"choice_{name}"
    st.session_state[key] = value
    arguments: dict[str, Any] = {
        "key": key,
        "format_func": lambda option: show(option) if option in options else f"{option} {unknown}".strip(),
        "on_change": _chosen,
        "args": (name, default, tuple(forget)),
        **options_of_widget,
    }
    if segmented:
        st.segmented_control(label, offered, required=True, **arguments)
    else:
        st.selectbox(label, offered, **arguments)
    return value


def _chosen(name: str, default: str, forget: tuple[str, ...]) -> None:
    value = st.session_state[f"choice_{name}"]
    write_params({**dict.fromkeys(forget), name: None if value == default else value})


def link(page: str, label: str, params: Mapping[str, str | None], *, icon: str | None = None, width: Any = "content") -> None:
    """A link to a page with its parameters in the address. ``label`` is Markdown: pass names through ``plain``."""
    st.page_link(PAGE_FILES.get(page, HOME), label=label, query_params=links.ordered(params), icon=icon, width=width)


# ---------------------------------------------------------------------------------------------- parts


@contextmanager
def panel(context: Context) -> Iterator[None]:
    """One part of a page: where it fails, the others go on. What makes the whole page senseless passes through."""
    try:
        yield
    except EXPECTED_ERRORS:
        raise
    except WindowTooFine as error:  # steps that are finer than what is kept of so long ago
        st.info(plain(str(error)), icon=":material/info:")
    except Exception:  # the edge of a page: logged with its number, never shown as a traceback
        number = uuid.uuid4().hex[:8]
        log.exception("A part of the page could not be shown", extra={"error_id": number})
        st.error(context.texts("error.panel", number=number), icon=":material/error:")


def empty(title: str, advice: str, commands: Sequence[str] = ()) -> None:
    """What stands where data would be: what is missing, and what to do."""
    with st.container(border=True, key=f"empty_{abs(hash((title, advice))) % 10**8}"):
        st.markdown(f"**{title}**")
        st.markdown(advice)
        for command in commands:
            st.code(command, language="bash")


def section(title: str, note: str = "") -> None:
    """A heading of a part of a page. ``note`` is Markdown."""
    st.subheader(title, anchor=False)
    if note:
        st.caption(note)


def chart(fig: Any, key: str, alt: str, **arguments: Any) -> Any:
    """A figure with a text for those who cannot see it."""
    return st.plotly_chart(fig, key=key, config=charts.CONFIG, alt=alt, **arguments)


def table(
    context: Context, frame: pd.DataFrame, name: str, *, columns: Mapping[str, Any] | None = None, height: Any = "auto"
) -> None:
    """A table and its download."""
    st.dataframe(
        frame, hide_index=True, key=f"table_{name}", column_config=dict(columns or {}), placeholder=NOTHING, height=height, alt=name
    )
    download(context, frame, name)


def details(context: Context, frame: Callable[[], pd.DataFrame], name: str) -> None:
    """The numbers behind a chart, folded away, and not gathered, until somebody wants them."""
    opened = st.expander(context.texts("table.show"), key=f"details_{name}", on_change="rerun", icon=":material/table_rows:")
    if opened.open:
        with opened:
            table(context, frame(), name)


def download(context: Context, frame: pd.DataFrame, name: str) -> None:
    label = context.texts("table.download")
    content = csv(frame)
    st.download_button(
        label, content, f"{name}.csv", "text/csv", key=f"csv_{name}", on_click="ignore", type="tertiary", icon=":material/download:"
    )


def csv(frame: pd.DataFrame) -> bytes:
    """CSV with a byte-order mark for spreadsheets; a text that a spreadsheet would take for a formula is quoted."""
    guarded = frame.map(lambda value: f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value)
    return guarded.to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")  # else a lone \r would not be quoted


def facts(rows: Sequence[tuple[str, ...]], header: Sequence[str]) -> None:
    """A small table of texts; each cell is shown as it is."""
    frame = pd.DataFrame([[plain(cell) for cell in row] for row in rows], columns=[plain(name) for name in header])
    st.table(frame, border="horizontal", hide_index=True)


def shown_at(context: Context, frame: pd.DataFrame, column: str = "at") -> pd.DataFrame:
    """The frame with the reader's clock in ``shown_at``."""
    return frame.assign(shown_at=[context.texts.local(at) for at in frame[column]])
