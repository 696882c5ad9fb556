"""What a killed stage noted is believed as far as it can be read."""

import pytest

from stages.artifacts.resume_log import ResumeLog


@pytest.mark.parametrize("tail", [b"", b'{"key": "c", "val', b"\x00" * 40 + b"\n", b"\xff\xfe\n"])
def test_a_torn_or_spoiled_line_is_not_believed_and_what_came_before_is(tmp_path, tail):
    journal = ResumeLog(tmp_path, "work")
    journal.add("a", 1)
    journal.add("b", [2])
    journal.close()
    file = next(tmp_path.rglob("work.jsonl"))
    file.write_bytes(file.read_bytes() + tail)
    again = ResumeLog(tmp_path, "work")
    assert again.done == {"a": 1, "b": [2]}
    again.add("c", 3)
    again.close()
    assert ResumeLog(tmp_path, "work").done == {"a": 1, "b": [2], "c": 3}
