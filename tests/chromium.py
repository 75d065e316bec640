"""A real Chromium without a screen, and the accessibility rules of axe-core run in it."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.needs import need

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[WebDriver]:
    """A browser with a profile of its own, at desktop width; skips, with the reason, where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    installed = all(importlib.util.find_spec(name) for name in ("selenium", "axe_core_python"))
    need("chromium", browser and driver and installed, "chromium, chromedriver, selenium or axe-core-python is missing")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


def look_as(driver: WebDriver, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
    """As on a screen of that width, in that theme; below 500 px as on a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})


def overflow(driver: WebDriver) -> list[str]:
    """What reaches beyond the right edge of the window and is not inside something that scrolls by itself."""
    found: list[str] = driver.execute_script(
        "const room = document.documentElement.clientWidth;"
        "return [...document.body.querySelectorAll('*')]"
        "  .filter(e => !e.closest('.scroll, .skip, svg') && e.getBoundingClientRect().right > room + 1)"
        "  .map(e => e.outerHTML.slice(0, 120));"
    )
    wide = driver.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return found or (["the page scrolls sideways"] if wide else [])


def axe(driver: WebDriver) -> list[str]:
    """The rules of axe-core that the page breaks, with the elements that do."""
    from axe_core_python.selenium import Axe

    told: dict[str, Any] = Axe().run(driver)
    return [
        f"{rule['id']}: {node['html'][:160]}: {node['failureSummary']}"
        for rule in told["violations"]
        for node in rule["nodes"]
    ]


def picture(driver: WebDriver, file: Path, *, width: int, height: int) -> None:
    """The page from its top as a PNG."""
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    file.write_bytes(base64.b64decode(taken["data"]))
