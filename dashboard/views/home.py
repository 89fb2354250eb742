"""The address without a page: the overview, which has an address of its own too."""

from __future__ import annotations

from dashboard.views.overview import show

if __name__ == "__main__":  # as Streamlit runs it
    show()
