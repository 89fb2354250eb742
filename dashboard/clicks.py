"""A click on a heat map, which Streamlit's charts do not tell: they tell of points that were selected, and a heat map has none.

Markers over all cells could be selected, but cost a browser half a second to draw.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_SCRIPT = """
const listening = new WeakSet()
let tell = () => {}

export default function ({ data, setTriggerValue }) {
  tell = (cell) => setTriggerValue("cell", cell)
  const place = document.querySelector(`.st-key-${data.chart}`) ?? document.body
  const listen = () => {
    const plot = (place.matches(`.st-key-${data.chart}`) ? place : place.querySelector(`.st-key-${data.chart}`))
      ?.querySelector(".js-plotly-plot")
    if (!plot?.on || listening.has(plot)) return
    listening.add(plot)
    plot.on("plotly_click", (event) => {
      const cell = event.points[0]?.customdata
      if (cell) tell(cell)
    })
  }
  const watch = new MutationObserver(listen)  // the chart may be drawn later, or anew
  watch.observe(place, { childList: true, subtree: true })
  listen()
  return () => watch.disconnect()
}
"""
_listener = st.components.v2.component("modelwatch.clicks", js=_SCRIPT)


def listen(chart: str, key: str, on_click: Callable[[], None]) -> None:
    """Calls ``on_click`` for a click on a cell of the chart with that key; ``clicked`` says what the cell carries."""
    _listener(key=key, data={"chart": chart}, on_cell_change=on_click)


def clicked(key: str) -> str:
    """What the cell that was just clicked carries as its ``customdata``; empty where none was."""
    return str(st.session_state[key].get("cell") or "")
