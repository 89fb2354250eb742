"""`python -m benchmarks.pages`: how long each page takes in a real browser, from the address to the last thing drawn.

It needs a dashboard that runs, best one with the demo's data: `modelwatch demo`, and when its story is over this. Three
ways to come to a page are measured: in a new browser that has nothing cached, by a link from outside into a browser that
has been there before, and by a click from another page. Beside them stands a page of Streamlit that shows one word: what
the framework takes by itself, which no page can be quicker than.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

PAGES = {"Overview": "", "Drift": "drift", "Performance": "performance", "A/B comparison": "compare", "Alerts": "alerts"}
IDLE = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
DRAWN = "document.querySelectorAll('[data-testid=stSkeleton]').length === 0"
WAYS = ("new browser", "link", "click")
EMPTY = "Streamlit, one word"
_ONE_WORD = 'import streamlit as st\n\nst.container(key="navigation").markdown("word")\n'


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8501", help="address of the dashboard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="path of the browser")
    options = parser.parse_args(arguments)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with one_word() as empty, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        for _ in range(options.rounds):
            for name, path in PAGES.items():
                found["new browser", name].append(_fresh(browser, f"{options.url}/{path}"))
            found["new browser", EMPTY].append(_fresh(browser, empty))
            for way, name, seconds in [*_visits(browser, options.url), ("link", EMPTY, _revisit(browser, empty))]:
                found[way, name].append(seconds)
        browser.close()
    _show(found)
    return 0


def _fresh(browser: Browser, address: str) -> float:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    seconds = _open(context.new_page(), address)
    context.close()
    return seconds


@contextmanager
def one_word() -> Iterator[str]:
    """The address of a page of Streamlit that shows one word."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "one_word.py"
        script.write_text(_ONE_WORD, encoding="utf-8")
        flags = [
            f"--server.port={port}",
            "--server.address=127.0.0.1",
            "--server.headless=true",
            "--browser.gatherUsageStats=false",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_for(address: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _revisit(browser: Browser, address: str) -> float:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    tab = context.new_page()
    _open(tab, address)
    seconds = _open(tab, address)
    context.close()
    return seconds


def _visits(browser: Browser, url: str) -> list[tuple[str, str, float]]:
    """Every page by link, then every page by click, in a browser that has seen them all."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    tab = context.new_page()
    for path in PAGES.values():
        _open(tab, f"{url}/{path}")
    times = [("link", name, _open(tab, f"{url}/{path}")) for name, path in PAGES.items()]
    times += [("click", name, _click(tab, name)) for name in PAGES]
    context.close()
    return times


def _open(tab: Page, address: str) -> float:
    began = time.perf_counter()
    tab.goto(address)
    _settle(tab)
    return time.perf_counter() - began


def _click(tab: Page, name: str) -> float:
    path = PAGES[name]
    link = tab.locator(f".st-key-navigation a[href$='{path}']").first if path else tab.locator(".st-key-navigation a").first
    address = tab.url
    began = time.perf_counter()
    link.click()
    tab.wait_for_function("before => location.href !== before", arg=address)
    _settle(tab)
    return time.perf_counter() - began


def _settle(tab: Page) -> None:
    tab.wait_for_selector(".st-key-navigation")
    tab.wait_for_selector(IDLE)
    tab.wait_for_function(DRAWN)


def _show(found: dict[tuple[str, str], list[float]]) -> None:
    table = Table(title="Seconds until a page is drawn, median (greatest)", title_justify="left")
    table.add_column("page")
    for way in WAYS:
        table.add_column(way, justify="right")
    for name in (*PAGES, EMPTY):
        table.add_row(name, *(_cell(found[way, name]) for way in WAYS))
    Console().print(table)


def _cell(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f} ({max(times):.2f})" if times else "—"


if __name__ == "__main__":
    sys.exit(main())
