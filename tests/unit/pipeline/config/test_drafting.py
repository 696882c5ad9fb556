"""A draft is written to a new file only, and says how much it leaves to a person."""

import pytest

from model.ground.errors import UsageError
from pipeline.config import drafting
from pipeline.config.drafting import write_draft

TEXT = "# ? is a question\nname: null # ?\nunit: null # ?\n"


def test_a_draft_counts_its_questions_without_the_heading(tmp_path, monkeypatch):
    monkeypatch.setattr(drafting, "draft", lambda folder, beside: (TEXT, []))
    drafted = write_draft(tmp_path, tmp_path / "town.yaml")
    assert (drafted.questions, drafted.left_out) == (2, ())
    assert drafted.file.read_text() == TEXT


def test_a_file_that_is_there_is_not_overwritten(tmp_path):
    file = tmp_path / "town.yaml"
    file.write_text("mine")
    with pytest.raises(UsageError, match="a file of this name") as caught:
        write_draft(tmp_path, file)
    assert caught.value.code == 2 and file.read_text() == "mine"


def test_the_folder_of_the_file_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        write_draft(tmp_path, tmp_path / "nowhere" / "town.yaml")
