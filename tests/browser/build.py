"""The app as people run it, in a process of its own that can be killed; and browsers that people sit at."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sanitizer.review import people
from sanitizer.review.visitor import COOKIE
from sanitizer.store import Store

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PASSWORD = "four words nobody joins"
PEOPLE = {"rea": "reviewer", "kim": "reviewer", "sam": "approver", "aud": "auditor", "ada": "admin", "vic": "viewer"}
SANITIZER = [sys.executable, "-c", "from sanitizer.cli import main; main()"]


class Desk:
    """A workspace and its server."""

    def __init__(self, folder):
        self.folder, self.process, self.port = folder, None, 0

    def start(self):
        command = [*SANITIZER, "review", "--workspace", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        said = self.process.stdout.readline()
        assert said.startswith("open http://127.0.0.1:"), "the server did not start"
        self.port = urlsplit(said.split()[1]).port
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process.stdout.close()
            self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def store(self):
        with Store.open("sqlite:///state.db", self.folder) as opened:
            yield opened

    def token(self, name):
        with self.store() as store, store.transaction() as tx:
            return people.sign_in(tx, people.get(tx, name), "password")


class Seat:
    """Somebody at a browser; remembers what the console said, what was fetched, and how many keys were pressed."""

    def __init__(self, browser, desk, name, *, width=1280, height=800, scheme="light"):
        self.desk, self.name, self.pressed = desk, name, 0
        self.said, self.fetched = [], []
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
        if name is not None:
            self.context.add_cookies([{"name": COOKIE, "value": desk.token(name), "url": desk.url, "httpOnly": True, "sameSite": "Strict"}])
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self, path="/"):
        self.page.goto(f"{self.desk.url}{path}")
        self.settled()
        return self

    def settled(self):
        self.page.wait_for_selector("main[aria-busy=false]", timeout=30_000)
        self.page.wait_for_selector("html[data-ready]", timeout=30_000, state="attached")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
            self.pressed += 1

    def until(self, expression, seconds=30):
        """Waits until a JavaScript expression holds; asked from here, because the page's policy lets nobody evaluate strings in it."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"{expression} did not come true; the page said {self.said[-5:]}"
            self.page.wait_for_timeout(30)

    def saved(self):
        """Waits until everything that was decided is durable."""
        self.until("!document.querySelector('#progress .saving, #progress .away')", 60)

    def left(self):
        return int(self.page.inner_text("#left").replace("\u202f", "").replace("\u00a0", "").replace(" ", ""))

    def case(self):
        return int(self.page.get_attribute('button.case[aria-current="true"]', "data-case"))

    def close(self):
        self.context.close()
