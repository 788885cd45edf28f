"""A real browser without a window, told what to do over two pipes (the DevTools protocol): no port, no driver.

Chromium from Debian's packages, or Chrome. It ends when its pipes close, hence also when this process dies.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LIMIT = 60  # seconds, after which what was waited for will not come
NAMES = ("chromium", "google-chrome", "chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--force-device-scale-factor=1", "--autoplay-policy=no-user-gesture-required"),
    *("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-pipe", "about:blank"),
)


class Page:
    """One page of a browser."""

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers = commands, answers
        self._unread = b""
        self._number, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        parts = [self._unread]
        while b"\0" not in parts[-1]:
            parts.append(os.read(self._answers, 1 << 16))
            if not parts[-1]:
                raise RuntimeError("the browser has ended")
        message, _, self._unread = b"".join(parts).partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, address: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.events.clear()
        self.send("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def run(self, script: str) -> Any:
        """Return what an expression comes to, after the promise that it may be."""
        how = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = self.send("Runtime.evaluate", expression=script, **how)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait for an expression to be true.

        Raises:
            RuntimeError: it did not become so, however slow the machine.
        """
        self.run(
            "new Promise((done, failed) => { const begun = Date.now(), look = () => { "
            f"if ({script}) done(true); else if (Date.now() - begun > {LIMIT * 1000}) failed('it never came'); "
            "else setTimeout(look, 10); }; look(); })"
        )

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, such as ``ArrowRight``, with its Windows key code."""
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )  # fmt: skip

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Choose files, or a folder, as a person does in the dialog of an ``<input type=file>``."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def screenshot(self, target: Path) -> None:
        """Write what a window would show as a png."""
        target.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def media(self, **features: str) -> None:
        """Have the page believe what a person prefers, such as ``prefers_color_scheme="dark"``."""
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=pairs)

    def requested(self) -> list[str]:
        """Return the addresses of all that the page asked for."""
        self.run("0")  # what was told before is among the events then
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Return errors and warnings of the page: exceptions, and what its security policy refused."""
        self.run("0")
        thrown = [event["params"] for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        logged = [event["params"] for event in self.events if event.get("method") == "Log.entryAdded"]
        return [json.dumps(one) for one in (*thrown, *logged)]


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Callable[[], Page]]:
    """Start a browser, and end it with all of its processes.

    Args:
        profile: an empty folder for its files.

    Yields:
        What opens a page; to be called once.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        raise FileNotFoundError("no browser for the tests of the report: run `apt-get install chromium` as root")
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    # The browser reads file descriptor 3 and writes 4; a shell moves them there.
    moved = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", moved, "bash", program, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=[theirs_in, theirs_out],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield lambda: Page(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
