"""Figures from frames: colours, gaps, and names that are shown as they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from dashboard import charts, drifts
from storage.records import MetricPoint, Verdict

NOW = datetime(2026, 11, 21, 12)  # noqa: DTZ001 - the reader's clock, as charts take it
HOSTILE = "<img src=x onerror=alert(1)>%{y}"
TEXTS = charts.HeatMapTexts(
    score="Output",
    threshold="threshold",
    rows="rows",
    times_threshold="x",
    too_few="few",
    scale="scale",
    verdicts={"drift": "drift"},
)


def cells(*points: tuple[str, int, float | None, Verdict]) -> pd.DataFrame:
    frame = drifts.cells(
        [
            MetricPoint(
                at=NOW.replace(tzinfo=UTC) + timedelta(minutes=minute),
                name="drift_psi",
                value=value,
                feature=feature,
                threshold=0.2,
                verdict=verdict,
                n_current=300,
                n_reference=1000,
            )
            for feature, minute, value, verdict in points
        ]
    )
    return frame.assign(shown_at=[at.replace(tzinfo=None) for at in frame["at"]])


def test_windows_that_were_too_small_are_grey_and_have_no_colour_of_drift() -> None:
    frame = cells(("a", 0, 9.0, Verdict.INSUFFICIENT), ("a", 1, 0.3, Verdict.DRIFT), ("b", 1, 0.1, Verdict.OK))

    figure = charts.drift_heatmap(frame, ["a", "b"], TEXTS, charts.LIGHT)

    grey, heat = figure.data
    assert np.isnan(np.array(heat.z, float)[0, 0])
    assert np.array(grey.z, float)[0, 0] == 1
    assert np.array(heat.z, float)[0, 1] == pytest.approx(1.5)
    assert np.isnan(np.array(heat.z, float)[1, 0])
    assert heat.text[0][1] == "1.5"
    assert [[charts.cell_of(cell) for cell in row] for row in heat.customdata] == [
        [("a", NOW.replace(tzinfo=UTC)), ("a", NOW.replace(tzinfo=UTC) + timedelta(minutes=1))],
        [None, ("b", NOW.replace(tzinfo=UTC) + timedelta(minutes=1))],
    ]
    assert heat.hovertext[0][0].startswith("<b>a</b><br>2026-11-21 12:00:00<br>9 · threshold 0.2<br>rows 300 / 1,000")
    assert heat.hovertext[1][0] == ""


@pytest.mark.parametrize(
    ("minutes", "columns"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 3, 4], [0, 1, 3, 4]),  # neighbours that share a column lie so
        ([0, 1, 9, 10], [0, 1, 2, 8, 9, 10]),
        ([7], [7]),
    ],
)
def test_cells_are_not_stretched_over_a_time_without_windows(minutes: list[int], columns: list[int]) -> None:
    frame = cells(*(("a", minute, 0.3, Verdict.DRIFT) for minute in minutes))

    heat = charts.drift_heatmap(frame, ["a"], TEXTS, charts.LIGHT).data[1]

    shown = [pd.Timestamp(time).to_pydatetime() for time in heat.x]
    assert shown == [NOW + timedelta(minutes=minute) for minute in columns]
    assert [minute for minute, value in zip(columns, heat.z[0], strict=True) if not np.isnan(value)] == minutes


def test_the_colour_changes_at_the_threshold() -> None:
    frame = cells(("a", 0, 0.1, Verdict.OK), ("a", 1, 99.0, Verdict.DRIFT))

    heat = charts.drift_heatmap(frame, ["a"], TEXTS, charts.DARK).data[1]

    stops = dict(heat.colorscale)
    assert stops[1 / charts.MAX_RATIO] == charts.DARK.over[0]
    assert np.array(heat.z, float).max() == charts.MAX_RATIO


def test_names_of_others_are_not_read_as_markup() -> None:
    frame = cells((HOSTILE, 0, 0.3, Verdict.DRIFT))

    figure = charts.drift_heatmap(frame, [HOSTILE], TEXTS, charts.LIGHT)

    assert "<img" not in figure.layout.yaxis.ticktext[0]
    assert "<img" not in figure.data[1].hovertext[0][0]
    assert figure.data[1].hovertemplate is None
    assert charts.cell_of(figure.data[1].customdata[0][0]) == (HOSTILE, NOW.replace(tzinfo=UTC))


@pytest.mark.parametrize("clicked", ["", "income", "yesterday income", "2026-11-21T10:00:00+00:00"])
def test_what_no_cell_carries_is_no_cell(clicked: str) -> None:
    assert charts.cell_of(clicked) is None


@pytest.mark.parametrize("features", [0, 1, 200])
def test_any_number_of_features_gives_a_figure(features: int) -> None:
    frame = cells(*((f"f{i}", minute, 0.1, Verdict.OK) for i in range(features) for minute in range(3)))

    figure = charts.drift_heatmap(frame, [f"f{i}" for i in range(features)], TEXTS, charts.LIGHT)

    assert json.loads(figure.to_json())


def test_a_line_breaks_and_its_band_ends_where_nothing_is_known() -> None:
    frame = pd.DataFrame(
        {
            "shown_at": [NOW + timedelta(minutes=i) for i in range(5)],
            "value": [0.5, 0.6, None, 0.7, 0.8],
            "lower": [0.4, 0.5, None, 0.6, 0.7],
            "upper": [0.6, 0.7, None, 0.8, 0.9],
        }
    )

    figure = charts.lines(frame, [charts.Line(column="value", name="v", lower="lower", upper="upper")], charts.LIGHT)

    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert [len(band.x) for band in bands] == [4, 4]
    assert figure.data[-1].connectgaps is False


def test_what_may_still_change_is_shaded_up_to_the_end() -> None:
    frame = pd.DataFrame({"shown_at": [NOW], "value": [1.0]})
    marks = charts.Marks(baseline=(0.9, HOSTILE), provisional=(NOW + timedelta(minutes=5), "provisional"))

    figure = charts.lines(
        frame, [charts.Line(column="value", name="v")], charts.LIGHT, marks=marks, span=(NOW, NOW + timedelta(minutes=9))
    )

    assert figure.layout.shapes[1].x1 == NOW + timedelta(minutes=9)
    assert "<img" not in str(figure.layout.annotations)


@pytest.mark.parametrize("better", [True, False, None])
def test_a_difference_shows_both_intervals_and_zero(better: bool | None) -> None:
    shown = charts.Effect(
        name="accuracy", difference=0.02, interval=(0.01, 0.03), sequential=(-0.01, 0.05), margin=0.1, better=better
    )

    figure = charts.effect(shown, ("fixed", "always"), charts.LIGHT)

    assert [tuple(trace.x) for trace in figure.data] == [(-0.01, 0.05), (0.01, 0.03), (0.02,)]
    low, high = figure.layout.xaxis.range
    assert low < -0.01
    assert high > 0.1


def test_categories_of_others_are_shown_as_they_are() -> None:
    bars = pd.DataFrame({"reference": [0.5, 0.5], "current": [1.0, 0.0], "n_reference": [5, 5], "n_current": [3, 0]})
    sides = charts.Sides(reference="r", current="c", share="s", density="d", below_or_equal="b", value="v")

    figure = charts.share_bars(bars, [HOSTILE, "b"], sides, charts.LIGHT)

    assert "<img" not in figure.to_json()
