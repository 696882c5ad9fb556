"""A resource that ran out is recognised behind whatever error a library makes of it."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from model.ground.errors import ResourceError
from pipeline.system import resources
from pipeline.system.resources import as_fault, peak_memory, restart_peak


def wrapped(cause: BaseException) -> BaseException:
    """What a library raises that hides the system's error behind its own."""
    try:
        raise RuntimeError("write failed, see above") from cause
    except RuntimeError as error:
        return error


class OutOfMemoryError(RuntimeError):
    """Named as in torch, which is not imported to know it."""


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(errno.ENOSPC, "kein Platz", "/w/a.tif"), "free"),
        (OSError(errno.EFBIG, "zu gross", "/w/a.tif"), "free"),
        (wrapped(OSError(errno.ENOSPC, "kein Platz")), "free"),
        (RuntimeError("SafetensorError: No space left on device (os error 28)"), "free"),
        (MemoryError(), "memory ran out"),
        (OutOfMemoryError("CUDA"), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 GB"), "memory ran out"),
        (OSError(errno.EROFS, "Read-only file system", "/w/a.tif"), "Read-only"),
    ],
)
def test_crs_08_run_03_what_ran_out_is_told(error, found, tmp_path):
    fault = as_fault(error, "stage infer", tmp_path)
    assert isinstance(fault, ResourceError) and fault.code == 6 and found in fault.found
    assert "stage infer" in fault.where + fault.found


def test_a_defect_is_no_resource(tmp_path):
    assert as_fault(ValueError("shapes differ"), "stage infer", tmp_path) is None
    assert as_fault(FileNotFoundError(errno.ENOENT, "No such file", "/x"), "stage infer", tmp_path) is None


def test_a_permission_inside_the_workspace_points_to_another_workspace(tmp_path):
    inside = as_fault(PermissionError(errno.EACCES, "denied", str(tmp_path / "cube")), "stage tile", tmp_path)
    outside = as_fault(PermissionError(errno.EACCES, "denied", "/inputs/a.tif"), "stage tile", tmp_path)
    assert inside is not None and "--workspace" in inside.fix
    assert outside is not None and "--workspace" not in outside.fix and outside.where == "/inputs/a.tif"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget a peak")
def test_each_stage_has_its_own_peak_of_memory():
    large = bytearray(300_000_000)
    assert peak_memory() > 300_000_000
    del large
    before = peak_memory()
    restart_peak()
    assert peak_memory() < before - 200_000_000


def test_where_the_system_tells_no_limits_the_rest_is_told_all_the_same(tmp_path, monkeypatch):
    """As on systems that are not POSIX: no module `resource`, no /proc."""
    monkeypatch.setattr(resources, "resource", None)
    fault = as_fault(OSError(errno.ENOSPC, "full", str(tmp_path / "a.tif")), "stage infer", tmp_path)
    assert fault is not None and "free: " in fault.found and "limited" not in fault.found
    monkeypatch.setattr(resources, "Path", lambda text: tmp_path / "no proc")
    assert peak_memory() is None


def test_the_module_is_imported_where_there_is_no_resource():
    code = (
        "import sys; sys.modules['resource'] = None; import pipeline.system.resources as r; print(r.resource)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "None", done.stderr
