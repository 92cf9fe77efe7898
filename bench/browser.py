"""Types into the page of a served model in a real browser, and looks at what it does.

    browser.py ADDRESS [--browser chromium] [--screenshot results/page.png]
    browser.py --serve MODEL    starts `luban serve MODEL --port 0` and stops it afterwards

Drives a headless Chromium over its DevTools protocol with nothing but the standard library. Asserts that the page
loads without errors, completes what is typed, takes the completion in and dismisses another; leaves a screenshot,
prints one JSON line.
"""

import argparse
import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from common import ROOT, print_result
from openai_client import start_server, stop_server

PROMPT = "fn main() {\n    let "
TIMEOUT_S = 30
CONTROL = 2
# The text area; the text with the completion that is proposed behind it; whether nothing is being written.
CODE = "document.querySelector('#code')"
SHOWN = "document.querySelector('#mirror').textContent"
IDLE = "document.querySelector('#stop').disabled"
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


def main():
    args = parse_args()
    if args.serve:
        server, address = start_server(args.serve)
        try:
            check(args, address)
            stop_server(server)
        finally:
            server.kill()
    else:
        check(args, args.address)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?")
    parser.add_argument("--serve", metavar="MODEL")
    parser.add_argument("--browser", default=next((name for name in BROWSERS if shutil.which(name)), BROWSERS[0]))
    parser.add_argument("--screenshot", type=Path, default=ROOT / "bench/results/page.png")
    args = parser.parse_args()
    if (args.address is None) == (args.serve is None):
        parser.error("give ADDRESS or --serve MODEL")
    return args


def check(args, address):
    with Browser(args.browser) as browser:
        page = browser.open(address if address.startswith("http") else f"http://{address}")
        page.wait_for("document.querySelector('#model')?.innerText")
        page.value(f"{CODE}.focus(), {CODE}.select()")
        page.call("Input.insertText", text=PROMPT)
        assert page.value(f"{CODE}.value") == PROMPT

        page.press("Enter", 13, CONTROL)
        start = time.perf_counter()
        page.wait_for(f"{SHOWN}.length > {len(PROMPT) + 1}")
        first_s = time.perf_counter() - start
        page.wait_for(IDLE)
        args.screenshot.parent.mkdir(parents=True, exist_ok=True)
        args.screenshot.write_bytes(base64.b64decode(page.call("Page.captureScreenshot")["data"]))
        proposed = page.value(SHOWN)
        assert page.value(f"{CODE}.value") == PROMPT, "the text changed before the completion was accepted"
        page.press("Tab", 9)
        accepted = page.value(f"{CODE}.value")
        assert accepted.startswith(PROMPT) and len(accepted) > len(PROMPT), accepted

        page.press("Enter", 13, CONTROL)
        page.press("Escape", 27)
        page.wait_for(IDLE)
        assert page.value(f"{CODE}.value") == accepted, "a dismissed completion stayed"
        assert not page.errors, page.errors
        print_result(
            bench="browser",
            browser=browser.version(),
            model=page.value("document.querySelector('#model').innerText"),
            origin=page.value("document.querySelector('#origin').innerText"),
            proposed=proposed,
            first_text_s=round(first_s, 3),
            screenshot=str(args.screenshot),
        )


class Browser:
    """A headless browser with a profile of its own."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",  # the page is our own, and containers often lack the namespaces
                "--disable-gpu",
                "--window-size=1200,900",
                "--remote-debugging-port=0",
                f"--user-data-dir={self.profile.name}",
                "about:blank",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = self.wait_for_port()

    def wait_for_port(self):
        for line in self.process.stderr:
            if found := re.search(r"DevTools listening on ws://[^:]+:(\d+)/", line):
                return int(found[1])
        raise AssertionError("the browser ended before it was ready")

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)

    def version(self):
        return self.ask("/json/version")["Browser"]

    def open(self, address):
        target = self.ask("/json/new?about:blank", "PUT")
        page = Page(WebSocket(self.port, target["webSocketDebuggerUrl"]))
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=address)
        return page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=TIMEOUT_S)
        self.profile.cleanup()


class Page:
    """One tab. Errors that the page throws or logs are collected."""

    def __init__(self, web_socket):
        self.web_socket, self.last_id, self.errors = web_socket, 0, []

    def call(self, method, **params):
        self.last_id += 1
        self.web_socket.send(json.dumps({"id": self.last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self.web_socket.receive())
            if message.get("id") == self.last_id:
                assert "error" not in message, message
                return message["result"]
            self.note_event(message)

    def note_event(self, message):
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"])
        entry = params.get("entry", {})
        # A page without an icon is asked for one; that there is none is no error of the page.
        if entry.get("level") == "error" and not entry.get("url", "").endswith("/favicon.ico"):
            self.errors.append(entry)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, condition):
        end = time.monotonic() + TIMEOUT_S
        while not self.value(condition):
            assert time.monotonic() < end, f"this did not come true in {TIMEOUT_S} s: {condition}"
            time.sleep(0.02)

    def press(self, name, code, modifiers=0):
        key = dict(key=name, code=name, windowsVirtualKeyCode=code, modifiers=modifiers)
        self.call("Input.dispatchKeyEvent", type="keyDown", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)


class WebSocket:
    """As much of RFC 6455 as the DevTools protocol needs: text both ways."""

    def __init__(self, port, url):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        path = url.split(str(port), 1)[1]
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        status = self.stream.readline()
        assert b" 101 " in status, status
        while self.stream.readline().strip():
            pass

    def send(self, text):
        payload, mask = text.encode(), os.urandom(4)
        length = len(payload)
        if length < 126:
            header = struct.pack("!BB", 0x81, 0x80 | length)
        else:
            header = struct.pack("!BBQ", 0x81, 0x80 | 127, length)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.socket.sendall(header + mask + masked)

    def receive(self):
        text, is_last = b"", False
        while not is_last:
            first, length = struct.unpack("!BB", self.stream.read(2))
            if length == 126:
                (length,) = struct.unpack("!H", self.stream.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.stream.read(8))
            payload = self.stream.read(length)
            if first & 0x0F in (0, 1):  # text, or more of it; pings need no answer here
                text, is_last = text + payload, bool(first & 0x80)
        return text.decode()


if __name__ == "__main__":
    main()
