"""A gateway's REST interface with nothing but Python's own library, for the scripts beside it."""

import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass


@dataclass
class Answer:
    status: int      # 0: no answer at all
    body: object     # what the JSON means, or the text
    seconds: float   # until the last byte


class Gateway:
    """`key` may be empty: then requests carry none. `timeout` in seconds, for each request."""

    def __init__(self, url: str, key: str = "", timeout: float = 60):
        self.url, self.key, self.timeout = url.rstrip("/"), key, timeout

    def _open(self, path: str, body: dict | None):
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=self.timeout)

    def ask(self, path: str, body: dict | None = None) -> Answer:
        """GET, or POST with a body. An error of the network is an answer with status 0."""
        began = time.monotonic()
        try:
            with self._open(path, body) as response:
                status, raw = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        except OSError as error:
            return Answer(0, str(error), time.monotonic() - began)
        text = raw.decode(errors="replace")
        try:
            return Answer(status, json.loads(text), time.monotonic() - began)
        except ValueError:
            return Answer(status, text, time.monotonic() - began)

    def events(self, path: str, body: dict) -> list[str]:
        """The data of each server-sent event of a stream; an error raises OSError."""
        with self._open(path, body) as response:
            return [line[5:].strip().decode() for line in response if line.startswith(b"data:")]


def key_from(file: str | None) -> str:
    """The API key: of a file, else of WEFT_API_KEY. It never is an argument, which other users could read."""
    if file:
        with open(file) as opened:
            return opened.read().strip()
    return os.environ.get("WEFT_API_KEY", "").strip()
