"""A real browser for tests: headless Chromium, driven by the W3C WebDriver protocol over loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = {"left": "\ue012", "right": "\ue014", "home": "\ue011", "end": "\ue010", "space": " ", "tab": "\ue004"}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str:
    """What is not here to start a browser with; empty where everything is."""
    if _browser() is None:
        return "no Chromium is installed"
    return "" if shutil.which("chromedriver") else "no chromedriver is installed"


def _browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Browser:
    """One window."""

    def __init__(self, url: str, session: str) -> None:
        self._url = f"{url}/session/{session}"

    def open(self, address: str) -> None:
        _call("POST", f"{self._url}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return _call("POST", f"{self._url}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, css: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent.trim()", css))

    def click(self, css: str) -> None:
        """Click as a person does: it fails where the element is hidden or covered."""
        found = _call("POST", f"{self._url}/element", {"using": "css selector", "value": css})
        _call("POST", f"{self._url}/element/{found[_ELEMENT]}/click", {})

    def press(self, *names: str) -> None:
        """Press keys, wherever the focus is."""
        keys = [KEYS[name] for name in names]
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        _call(
            "POST", f"{self._url}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]}
        )

    def size(self, width: int, height: int) -> None:
        _call("POST", f"{self._url}/window/rect", {"width": width, "height": height})

    def log(self) -> list[dict[str, Any]]:
        """What the browser has complained about."""
        found: list[dict[str, Any]] = _call("POST", f"{self._url}/se/log", {"type": "browser"})
        return found

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_call("GET", f"{self._url}/screenshot")))


@contextlib.contextmanager
def browser(profile: Path, *, dark: bool = False) -> Iterator[Browser]:
    """A browser with an empty profile; it is gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = shutil.which("chromedriver")
    assert driver is not None
    url = f"http://127.0.0.1:{port}"
    arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]
    arguments += [f"--user-data-dir={profile}", "--window-size=1400,1000"]
    arguments += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": _browser(), "args": arguments},
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _until_ready(url)
        made = _call("POST", f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})
        try:
            yield Browser(url, made["sessionId"])
        finally:
            _call("DELETE", f"{url}/session/{made['sessionId']}")
    finally:
        process.terminate()
        process.wait(10)


def _until_ready(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            if _call("GET", f"{url}/status")["ready"]:
                return
        time.sleep(0.1)
    raise TimeoutError("chromedriver does not start")


def _call(method: str, url: str, data: dict[str, Any] | None = None) -> Any:
    body = None if data is None else json.dumps(data).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(json.load(error)["value"]["message"]) from None
