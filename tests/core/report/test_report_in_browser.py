"""The report as a reader has it: phone, wide screen and paper, light and dark, keyboard, time to load. In Chromium."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, installed, started
from report_cases import made_up_run

from fineseg.report.page import write_report

PICTURES = 200
SOON = 5000
"""Milliseconds; it takes less than one second where nothing else runs."""

OVERRUN = """(() => {
  const width = document.documentElement.clientWidth
  const inside = e => {
    for (let p = e.parentElement; p; p = p.parentElement) if (getComputedStyle(p).overflowX !== 'visible') return true
    return false
  }
  return [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().width && e.getBoundingClientRect().right > width + 1 && !inside(e))
    .map(e => e.tagName + '.' + e.className)
})()"""

CONTRAST = """(() => {
  const light = colour => {
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4
    const [r, g, b] = colour.match(/[\\d.]+/g).map(v => linear(v / 255))
    return .2126 * r + .7152 * g + .0722 * b
  }
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor
      if (colour.startsWith('rgb(')) return colour
    }
    return 'rgb(255, 255, 255)'
  }
  const found = {}
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
    if (!own || e.closest('svg, dialog') || !e.getBoundingClientRect().width) continue
    const [high, low] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a)
    if ((high + .05) / (low + .05) < 4.5) found[e.tagName + '.' + e.className] = (high + .05) / (low + .05)
  }
  return found
})()"""

UNNAMED = """[...document.querySelectorAll('button, a, input, [role=img], [role=region], dialog, summary')]
  .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim()))
  .map(e => e.outerHTML.slice(0, 80))"""

STATE = """(() => {
  const d = document.querySelector('dialog')
  return [d.open, d.querySelector('.where').textContent]
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser; tests that ask for it are skipped where none is installed."""
    if installed() is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with started(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report of `PICTURES` pictures, with names of any length."""
    data = made_up_run(tmp_path_factory.mktemp("many rooms"), images=PICTURES // 4)
    long = "a-very-long-name-of-a-run-" * 4
    return write_report(tmp_path_factory.mktemp("out") / "report.html", replace(data, title=f"{data.title} {long}"))


def brightness(colour: str) -> float:
    """Return the mean of a computed colour, from 0 to 255."""
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1440])
def test_fits_the_screen_and_can_be_read(width: int, dark: bool, browser: Browser, page: Path) -> None:
    browser.show(width, dark=dark)
    browser.open(page)
    assert browser.ask("document.querySelectorAll('.picture').length") == PICTURES
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(OVERRUN) == []
    assert browser.ask(CONTRAST) == {}
    assert browser.ask(UNNAMED) == []
    assert (brightness(browser.ask("getComputedStyle(document.body).backgroundColor")) < 128) is dark


def test_loads_from_nowhere_else(browser: Browser, page: Path) -> None:
    browser.show(1440)
    browser.open(page)
    asked = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert [url for url in asked if url.startswith("file")] == [page.as_uri()]
    assert [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"] == []


def test_loads_soon(browser: Browser, page: Path) -> None:
    browser.show(1440)
    took = []
    for _ in range(3):
        browser.open(page)
        took.append(browser.ask("performance.timing.loadEventEnd - performance.timing.navigationStart"))
    assert min(took) < SOON, took


def test_gallery_is_driven_by_keys(browser: Browser, page: Path) -> None:
    browser.show(1440)
    browser.open(page)
    assert browser.ask(STATE)[0] is False
    reached = "document.activeElement.closest('.row') !== null"
    for _ in range(200):
        browser.press("Tab")
        if browser.ask(reached):
            break
    assert browser.ask(reached)
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.press("Enter", "\r")
    first: list[Any] = browser.ask(STATE)
    assert first[0] is True and first[1]
    browser.press("ArrowRight")
    assert browser.ask(STATE)[1] != first[1]
    browser.press("ArrowDown")
    browser.press("Escape")
    assert browser.ask(STATE)[0] is False
    assert browser.ask(reached)  # the reader is back in the gallery


def test_columns_are_switched_off_and_on(browser: Browser, page: Path) -> None:
    browser.show(1440)
    browser.open(page)
    shown = "[...document.querySelectorAll('.row .picture')].filter(e => e.getBoundingClientRect().width).length"
    assert browser.ask(shown) == PICTURES
    for column in range(4):
        switch = f"document.querySelectorAll('fieldset input[type=checkbox]')[{column}]"
        browser.ask(f"{switch}.click()")
        assert browser.ask(shown) == PICTURES * 3 // 4
        browser.ask(f"{switch}.click()")
    assert browser.ask(shown) == PICTURES


def test_on_paper_nothing_is_cut_off(browser: Browser, page: Path) -> None:
    browser.show(794, media="print", dark=True)
    browser.open(page)
    assert browser.ask("document.documentElement.scrollWidth") <= 794
    cut = """[...document.querySelectorAll('.wide')]
        .filter(e => getComputedStyle(e).overflowX !== 'visible').length"""
    assert browser.ask(cut) == 0
    assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert (
        brightness(browser.ask("getComputedStyle(document.body).color")) < 128
    )  # dark on white, whatever the screen is


def test_a_stand_in_is_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "chromium-browser"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed.__wrapped__() is None
    stub.write_text("#!/bin/sh\nexit 0\n")
    assert installed.__wrapped__() == str(stub)


def test_faults_are_noticed(browser: Browser, page: Path) -> None:
    browser.show(360)
    browser.open(page)
    bad = '<p class="bad" style="color: #999; background: #fff; width: 2000px">grey<button></button></p>'
    browser.ask(f"document.body.insertAdjacentHTML('beforeend', {bad!r})")
    assert "P.bad" in browser.ask(OVERRUN)
    assert browser.ask(CONTRAST) == {"P.bad": pytest.approx(2.85, abs=0.01)}
    assert browser.ask(UNNAMED) == ["<button></button>"]
