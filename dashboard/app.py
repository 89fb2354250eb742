"""The script that Streamlit runs for each reader: address, header, page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import header, links, page, queries
from dashboard.texts import Texts, plain

STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg").read_text(encoding="utf-8")
"""An own picture: Streamlit would fetch the picture of a named icon from another host."""


def main() -> None:
    """Shows the page that the address names; what is wrong with the installation is said in one sentence."""
    texts = header.read_texts()
    st.set_page_config(page_title="modelwatch", page_icon=ICON, layout="wide")
    st.html(STYLE)
    home = st.Page(page.HOME, title=texts("page.overview"), default=True)
    pages = [st.Page(page.PAGE_FILES[name], title=texts(f"page.{name}"), url_path=name) for name in links.PAGES]
    chosen = st.navigation([home, *pages], position="hidden")
    here = chosen.url_path
    try:
        queries.require_current_schema()
        firing = header.firing()
    except page.EXPECTED_ERRORS as error:
        header.navigation(texts, here, 0)
        _sentence(texts, error)
        return
    header.navigation(texts, here, firing)
    try:
        context = header.controls(texts, here, header.now())
        if context.registry.versions:
            with page.panel(context):
                chosen.run()
        else:
            _first_run(texts)
    except page.EXPECTED_ERRORS as error:
        _sentence(texts, error)


def _sentence(texts: Texts, error: Exception) -> None:
    st.error(plain(str(error)), title=texts("error.title"), icon=":material/database_off:")
    st.button(texts("error.retry"), icon=":material/refresh:")


def _first_run(texts: Texts) -> None:
    st.header(texts("first.title"), anchor=False)
    st.markdown(texts("first.text"))
    for key, command in (
        ("first.demo", "make demo"),
        ("first.register", "modelwatch models register churn model.joblib --reference train.csv --target churned"),
        ("first.up", "modelwatch up"),
        (
            "first.predict",
            "curl -X POST http://127.0.0.1:8000/v1/models/churn/predict -H 'Content-Type: application/json' "
            '-d \'{"instances": [{"age": 42, "plan": "basic"}]}\'',
        ),
    ):
        st.markdown(texts(key))
        st.code(command, language="bash", wrap_lines=True)


main()
