"""A file has its old content or its new one, whatever stops the writing."""

import os

import pytest

from stages.formats.atomic import replace_file, take_name


def test_a_file_is_replaced_whole_and_no_draft_is_left(tmp_path):
    path = tmp_path / "facts.json"
    replace_file(path, b"old")
    replace_file(path, b"new")
    replace_file(path, b"newer", shared=True)
    assert path.read_bytes() == b"newer" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_finished_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "facts.json"
    replace_file(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_draft_left_by_a_killed_attempt_is_overwritten_and_gone(tmp_path):
    path = tmp_path / "facts.json"
    (tmp_path / ".facts.json.new").write_bytes(b"cut sh")
    replace_file(path, b"whole")
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_finished_draft_takes_the_name(tmp_path):
    draft, final = tmp_path / "map.draft", tmp_path / "map.tif"
    draft.write_bytes(b"map")
    final.write_bytes(b"before")
    take_name(draft, final)
    assert final.read_bytes() == b"map" and not draft.exists()
