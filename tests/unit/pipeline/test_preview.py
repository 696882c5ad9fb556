"""A check ends where a run would not fit on the disk, and tells what is free before that."""

import pytest

from model.ground.errors import ResourceError
from pipeline.preview import Outlook
from stages.contract.body import Preview


def test_a_run_larger_than_the_free_disk_is_refused(tmp_path):
    tight = Outlook(Preview(disk_bytes=3_000_000), tmp_path, free_disk=2_000_000, free_memory=8_000_000)
    with pytest.raises(ResourceError) as caught:
        tight.refuse_full_disk()
    assert caught.value.code == 6 and caught.value.where == str(tmp_path)
    assert (caught.value.found, caught.value.wanted) == ("2 MB free", "up to 3 MB")
    assert tight.lines()[-2:] == ["free disk: 2 MB", "free memory: 8 MB"]


def test_a_run_that_just_fits_is_not(tmp_path):
    Outlook(Preview(disk_bytes=2_000_000), tmp_path, free_disk=2_000_000, free_memory=0).refuse_full_disk()
