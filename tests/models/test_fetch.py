"""Fetching from a server on this machine: whole, broken off and gone on with, changed, refused, and two at once."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import pytest

from mec_transfer.cli.main import main
from mec_transfer.common import download
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.models.fetch import fetch_model, read_note
from mec_transfer.models.zoo import Entry
from tests.models.conftest import Shop, make_entry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def left(folder: Path) -> list[str]:
    """Return what lies in the checkpoint's folder, without the lock."""
    return sorted(path.name for path in (folder / "moco" / "v2-800ep").iterdir() if path.name != ".lock")


def break_off(shop: Shop, entry: Entry, folder: Path, after: int) -> None:
    """Fetch while the connection breaks after so many bytes."""
    shop.stop_after = after
    with pytest.raises(RunError, match="broke off"):
        fetch_model(entry, folder)
    shop.stop_after = None
    assert not entry.path(folder).exists()


def test_a_file_is_fetched_whole_and_noted(shop: Shop, entry: Entry, folder: Path) -> None:
    note = fetch_model(entry, folder)
    assert entry.path(folder).read_bytes() == shop.body and left(folder) == ["fetched.json", "weights.pth"]
    assert (note.bytes, note.sha256) == (len(shop.body), hashlib.sha256(shop.body).hexdigest())
    assert note.checked == "size alone" and read_note(entry.path(folder)) == note
    assert shop.asked[0]["user-agent"].startswith("mec-transfer/") and "range" not in shop.asked[0]


def test_a_second_call_compares_and_asks_nobody(shop: Shop, entry: Entry, folder: Path) -> None:
    first = fetch_model(entry, folder)
    assert fetch_model(entry, folder) == first and len(shop.asked) == 1
    entry.path(folder).write_bytes(shop.body[:-1] + b"x")
    with pytest.raises(UserError, match="changed since it was fetched on 20.*delete it and fetch it again"):
        fetch_model(entry, folder)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_published_digits_are_compared(shop: Shop, entry: Entry, folder: Path, kind: str) -> None:
    digits = hashlib.new(kind, shop.body).hexdigest()
    right, wrong = entry.model_copy(update={kind: digits[:8]}), entry.model_copy(update={kind: "0123456789abcdef"})
    with pytest.raises(RunError, match=f"not the published file: its {kind} is {digits}.*nothing of it was kept"):
        fetch_model(wrong, folder)
    assert left(folder) == []
    assert fetch_model(right, folder).checked == kind


@pytest.mark.parametrize("by", ["etag", "date"])
def test_a_broken_download_goes_on_where_it_stopped(shop: Shop, entry: Entry, folder: Path, by: str) -> None:
    shop.dated = "Wed, 21 Oct 2015 07:28:00 GMT"
    shop.etag = '"one"' if by == "etag" else 'W/"weak"'
    break_off(shop, entry, folder, 100_000)
    assert left(folder) == ["weights.pth.part", "weights.pth.part.json"]
    break_off(shop, entry, folder, 50_000)
    fetch_model(entry, folder)
    assert [request.get("range") for request in shop.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert shop.asked[2]["if-range"] == ('"one"' if by == "etag" else shop.dated)
    assert entry.path(folder).read_bytes() == shop.body and left(folder) == ["fetched.json", "weights.pth"]


def test_a_server_without_ranges_gives_all_of_it_again(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    shop.ranges = False
    fetch_model(entry, folder)
    assert shop.asked[1]["range"] == "bytes=100000-" and entry.path(folder).read_bytes() == shop.body


def test_a_file_that_changed_meanwhile_is_begun_anew(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    shop.body, shop.etag = bytes(reversed(shop.body)), '"two"'
    fetch_model(entry, folder)
    assert shop.asked[1]["if-range"] == '"one"' and entry.path(folder).read_bytes() == shop.body


def test_without_a_version_nothing_is_gone_on_with(shop: Shop, entry: Entry, folder: Path) -> None:
    shop.etag = ""
    break_off(shop, entry, folder, 100_000)
    fetch_model(entry, folder)
    assert "range" not in shop.asked[1] and entry.path(folder).read_bytes() == shop.body


def test_a_part_of_another_address_is_not_gone_on_with(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    moved = entry.model_copy(update={"url": f"{shop.url}?v=2"})
    fetch_model(moved, folder)
    assert "range" not in shop.asked[1] and entry.path(folder).read_bytes() == shop.body


def test_a_part_that_was_whole_is_put_in_its_place(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, len(shop.body) - 1)
    part = entry.path(folder).with_name("weights.pth.part")
    part.write_bytes(shop.body)  # as one that was killed between its last byte and the renaming leaves it
    fetch_model(entry, folder)
    assert entry.path(folder).read_bytes() == shop.body and len(shop.asked) == 2


def test_a_part_that_is_too_long_is_begun_anew(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    entry.path(folder).with_name("weights.pth.part").write_bytes(shop.body + b"more")
    fetch_model(entry, folder)
    assert entry.path(folder).read_bytes() == shop.body


def test_another_part_than_was_asked_for_is_refused(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    shop.wrong_range = True
    with pytest.raises(RunError, match="another part of the file than was asked for"):
        fetch_model(entry, folder)
    assert not entry.path(folder).exists()


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_login_page_is_no_checkpoint(shop: Shop, entry: Entry, folder: Path, content_type: str) -> None:
    shop.body, shop.content_type = b"\n<!DOCTYPE html><title>Log in</title>", content_type
    with pytest.raises(RunError, match=r"gave a web page, not the file \(a login, or a notice\)"):
        fetch_model(entry, folder)
    assert left(folder) == []


def test_a_login_page_keeps_what_came_before(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    body, shop.body = shop.body, b"<html>log in"
    shop.content_type, shop.ranges = "text/html", False
    with pytest.raises(RunError, match="web page"):
        fetch_model(entry, folder)
    shop.body, shop.content_type, shop.ranges = body, "application/octet-stream", True
    fetch_model(entry, folder)
    assert shop.asked[2]["range"] == "bytes=100000-" and entry.path(folder).read_bytes() == body


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_one_line(shop: Shop, entry: Entry, folder: Path, status: int) -> None:
    shop.status = status
    with pytest.raises(RunError, match=rf"^moco:v2-800ep: http.*/weights.pth answers {status} \(.+\)$"):
        fetch_model(entry, folder)
    assert left(folder) == []


def test_no_server_is_one_line(entry: Entry, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = entry.model_copy(update={"url": f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth"})
    with pytest.raises(RunError, match=r"cannot be reached \(Connection refused\); go online, or copy the file"):
        fetch_model(nobody, folder)


def test_a_silent_server_is_given_up(shop: Shop, entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SECONDS", 0.1)
    shop.pause = 0.5
    with pytest.raises(RunError, match=r"broke off after 0.0 MB \(timed out\); the same command goes on from there"):
        fetch_model(entry, folder)


def test_an_unannounced_size_is_taken_as_it_comes(shop: Shop, entry: Entry, folder: Path) -> None:
    shop.length = False
    assert fetch_model(entry, folder).checked == "nothing to check against"
    assert entry.path(folder).read_bytes() == shop.body


def test_a_disk_without_room_is_told_before(
    shop: Shop, entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="3 MB are to come, 1 MB are free; make room"):
        fetch_model(entry, folder)
    assert left(folder) == []


def test_a_disk_that_fills_up_keeps_what_came(shop: Shop, entry: Entry, folder: Path) -> None:
    """A process may write no file of more than 100,000 bytes, as a full disk lets none grow."""
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        from tests.models.conftest import make_entry
        from mec_transfer.common.errors import RunError
        from mec_transfer.models.fetch import fetch_model
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            fetch_model(make_entry({shop.url!r}), Path({str(folder)!r}))
        except RunError as error:
            sys.exit(str(error))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "weights.pth.part: cannot be written (File too large); make room, and the same command" in done.stderr
    assert not entry.path(folder).exists()
    fetch_model(entry, folder)
    assert shop.asked[1]["range"] == "bytes=100000-" and entry.path(folder).read_bytes() == shop.body


def test_two_at_once_fetch_it_once(shop: Shop, entry: Entry, folder: Path) -> None:
    shop.pause = 0.3
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=fetch_model, args=(entry, folder)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(shop.asked) == 1 and entry.path(folder).read_bytes() == shop.body


def test_a_killed_one_leaves_no_lock_and_goes_on(shop: Shop, entry: Entry, folder: Path) -> None:
    break_off(shop, entry, folder, 100_000)
    shop.pause = 30.0
    process = multiprocessing.get_context("fork").Process(target=fetch_model, args=(entry, folder))
    process.start()
    until = time.monotonic() + 10
    while len(shop.asked) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    shop.pause = 0.0
    fetch_model(entry, folder)
    assert shop.asked[2]["range"] == "bytes=100000-" and entry.path(folder).read_bytes() == shop.body


def test_a_folder_that_is_a_file_is_a_mistake(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file, or lies below one; give a folder"):
        fetch_model(entry, tmp_path / "file")


def test_what_only_a_browser_gets_is_put_there_by_hand(entry: Entry, folder: Path) -> None:
    hand = entry.model_copy(update={"by_hand": True})
    with pytest.raises(UserError, match=r"only a browser gets it: open http.* and save the file as .*weights.pth"):
        fetch_model(hand, folder)
    assert not folder.exists()
    hand.path(folder).parent.mkdir(parents=True)
    hand.path(folder).write_text("<html>a warning page")
    with pytest.raises(UserError, match="web page.*delete .*weights.pth and fetch it again"):
        fetch_model(hand, folder)
    assert hand.path(folder).exists()  # a user's own file is the user's to delete
    hand.path(folder).write_bytes(b"weights")
    assert fetch_model(hand, folder).bytes == 7


def test_the_command_fetches_and_says_what_came(
    shop: Shop, entry: Entry, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "fetch", entry.name]) == 0
    printed = capsys.readouterr().out
    assert str(entry.path(folder)) in printed and hashlib.sha256(shop.body).hexdigest() in printed
    shop.status = 404
    assert main(["models", "fetch", entry.name, "--models-dir", str(tmp_path / "other")]) == 1
    assert capsys.readouterr().err.startswith("mec-transfer: failed: moco:v2-800ep: http")
    assert main(["models", "fetch", "moco:v2-800e"]) == 2
    assert "Did you mean 'moco:v2-800ep'?" in capsys.readouterr().err
    assert main(["models", "fetch"]) == 2 and "name what to fetch" in capsys.readouterr().err


def test_an_interrupted_command_says_that_it_goes_on(shop: Shop, entry: Entry, folder: Path) -> None:
    shop.pause = 30.0
    code = f"""
        import sys
        from mec_transfer.models import zoo
        from mec_transfer.cli.main import main
        from tests.models.conftest import make_entry
        zoo.load_zoo = lambda: {{"moco:v2-800ep": make_entry({shop.url!r})}}
        sys.exit(main(["models", "fetch", "moco:v2-800ep", "--models-dir", {str(folder)!r}]))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 20
    while not shop.asked and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and said.endswith("interrupted (SIGINT); the same command goes on from here\n")


@pytest.mark.parametrize("file", ["../x", "a/b", ".hidden", "", "x\ny", "/etc/passwd", ".."])
def test_no_entry_reaches_out_of_its_folder(file: str) -> None:
    with pytest.raises(ValueError, match="no plain file name"):
        make_entry("https://example.org/x", file=file)
