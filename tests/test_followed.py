"""Files that are replaced while something runs on what they held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuledger_agent.followed import FileRefused, Followed, read_small


def followed(*paths: Path) -> Followed[bytes]:
    return Followed("test", paths, lambda: b"".join(read_small(path, 8) for path in paths))


def test_files_when_they_are_what_they_were_then_they_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    reads: list[int] = []
    files = Followed("test", [tmp_path / "a"], lambda: reads.append(1))
    assert not files.refresh()
    assert len(reads) == 1


def test_file_when_replaced_or_written_or_linked_elsewhere_then_it_is_read_again(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    link = tmp_path / "link"
    link.symlink_to("a")
    files = followed(link)
    link.unlink()
    link.symlink_to("b")
    assert files.refresh()
    assert files.value == b"b"
    (tmp_path / "b").write_bytes(b"more")
    assert files.refresh()
    (tmp_path / "a").replace(tmp_path / "b")
    assert files.refresh()
    assert files.value == b"a"
    assert not files.refresh()


def test_file_when_touched_then_nothing_is_new(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    files = followed(tmp_path / "a")
    before = files.value
    os.utime(tmp_path / "a", (1, 1))
    assert not files.refresh()
    assert files.value is before


def test_file_when_it_changes_while_it_is_read_then_only_the_next_look_counts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    meanwhile: list[bytes] = []

    def load() -> bytes:
        found = path.read_bytes()
        if meanwhile:
            path.write_bytes(meanwhile.pop())
        return found

    files = Followed("test", [path], load)
    meanwhile.append(b"333")
    path.write_bytes(b"22")
    assert not files.refresh()
    assert files.value == b"1"
    assert files.refresh()
    assert files.value == b"333"


def test_file_when_it_cannot_be_read_then_what_it_held_stays_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    files = followed(path)
    path.unlink()
    assert not files.refresh()
    path.write_bytes(b"123456789")
    assert not files.refresh()
    assert not files.refresh()
    assert files.value == b"1"
    assert caplog.text.count("event=files_not_renewed what=test") == 1
    path.write_bytes(b"2")
    assert files.refresh()
    path.unlink()
    files.refresh()
    assert caplog.text.count("event=files_not_renewed what=test") == 2


def test_file_when_missing_at_first_then_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="No such file or directory; name a file"):
        followed(tmp_path / "a")
