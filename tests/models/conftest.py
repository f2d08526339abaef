"""A server on this machine that can do to a download what servers and networks do."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mec_transfer.common import download
from mec_transfer.models import zoo
from mec_transfer.models.zoo import Entry


@dataclasses.dataclass
class Shop:
    """What the server has, how it misbehaves, and what it was asked."""

    body: bytes
    bodies: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """By path; any other path has `body`."""
    url: str = ""
    etag: str = '"one"'
    dated: str = ""
    status: int = 200
    content_type: str = "application/octet-stream"
    ranges: bool = True
    stop_after: int | None = None
    """The connection breaks after so many bytes of an answer."""
    wrong_range: bool = False
    length: bool = True
    pause: float = 0.0
    asked: list[dict[str, str]] = dataclasses.field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    shop: Shop

    def do_GET(self) -> None:
        shop = self.shop
        shop.asked.append({name.lower(): value for name, value in self.headers.items()})
        body, start, status = shop.bodies.get(self.path, shop.body), 0, shop.status
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and shop.ranges and self.headers.get("If-Range") in (shop.etag, shop.dated):
            start, status = int(wanted[1]), 206
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(status)
        self.send_header("Content-Type", shop.content_type)
        if shop.length:
            self.send_header("Content-Length", str(len(body) - start))
        if shop.etag:
            self.send_header("ETag", shop.etag)
        if shop.dated:
            self.send_header("Last-Modified", shop.dated)
        if status == 206:
            first = start + 1 if shop.wrong_range else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        time.sleep(shop.pause)
        end = len(body) if shop.stop_after is None else start + shop.stop_after
        self.wfile.write(body[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A running server with three blocks and a bit of bytes that are no checkpoint, and no page either."""
    stand = Shop(bytes(range(256)) * (3 * 4096 + 1))
    handler = type("Handler", (_Handler,), {"shop": stand})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    monkeypatch.setattr(server, "handle_error", lambda request, address: None)  # clients that are killed hang up
    stand.url = f"http://127.0.0.1:{server.server_address[1]}/models/weights.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield stand
    server.shutdown()
    server.server_close()
    thread.join()


def make_entry(url: str, **changes: object) -> Entry:
    values = {
        "name": "moco:v2-800ep",
        "method": "MoCo v2",
        "pretraining": "800 epochs",
        "arch": "resnet18",
        "format": "MoCo v1/v2",
        "encoder": "auto",
        "source": "here",
        "url": url,
        "by_hand": False,
        "file": "weights.pth",
        "size_mib": None,
        "sha256": None,
        "md5": None,
        "expect": [],
    }
    return Entry.model_validate(values | changes)


@pytest.fixture
def entry(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Entry:
    """The shop's file under a name, which the commands know too; what is fetched goes to tmp_path/models."""
    one = make_entry(shop.url)
    real = zoo.load_zoo()
    monkeypatch.setattr(zoo, "load_zoo", lambda: {**real, one.name: one})
    monkeypatch.setenv(zoo.FOLDER_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(download, "_BLOCK", 1 << 14)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return one
