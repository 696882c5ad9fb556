"""Recognises that a resource ran out behind any library's error, and measures what is left of it."""

import contextlib
import ctypes
import errno
import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from model.ground.errors import HectareError, ResourceError

try:
    import resource
except ImportError:  # only POSIX systems tell of limits and of the peak
    resource = None  # type: ignore[assignment]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNUSABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOTDIR}
# Libraries that wrap the system's error keep at least its text.
FULL_WORDS = ("no space left", "file too large", "disk quota exceeded", "disk full", "not enough space")
MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate")
MEGABYTE = 1_000_000


def as_fault(error: BaseException, where: str, folder: Path) -> HectareError | None:
    """The fault behind an error of a stage when it is about disk, memory or permission; else None.

    Args:
      where: the stage, in words.
      folder: where it was writing.
    """
    chain = list(_chain(error))
    if any(_is_memory(link) for link in chain):
        return ResourceError(
            where,
            f"memory ran out: {first_line(error)}",
            f"more than the {_size(available_memory())} left on this machine",
            "close other programs, or set smaller windows, batches or fewer workers",
        )
    for link in chain:
        if isinstance(link, OSError) and link.errno in UNUSABLE and not _is_full(link):
            path = Path(os.fsdecode(link.filename or folder))
            if folder not in (path, *path.parents) and path not in folder.parents:
                fix = "check who owns it and its permissions"
                return ResourceError(str(path), f"{link.strerror} ({where})", "a file this user may use", fix)
            return ResourceError(
                str(path),
                f"{link.strerror} ({where})",
                "a folder this user may write to",
                "choose another --workspace DIR, or change the folder's permissions",
            )
    if any(_is_full(link) for link in chain):
        return _disk_fault(error, where, folder)
    return None


def _disk_fault(error: BaseException, where: str, folder: Path) -> HectareError:
    named = (link.filename for link in _chain(error) if isinstance(link, OSError) and link.filename)
    path = os.fsdecode(next(named, folder))
    limit = _file_size_limit()
    limited = "" if limit is None else f"; files are limited to {_size(limit)}"
    return ResourceError(
        path,
        f"{_size(free_space(folder))} free{limited}: {first_line(error)} ({where})",
        f"more than the {_size(folder_size(folder))} already written there",
        "free some space or choose another --workspace DIR, then run the same command again",
    )


def _file_size_limit() -> int | None:
    """Most bytes of a file this process may write; None where there is no limit or none is told."""
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(word in str(error).lower() for word in FULL_WORDS)


def _is_memory(error: BaseException) -> bool:
    """Why by name: torch.OutOfMemoryError must be known without importing torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in MEMORY_WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The error's text, one line, or the name of its type."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def free_space(folder: Path) -> int:
    """Space a user may still write to [bytes].

    Args:
      folder: asked about; where it is not there yet, the nearest folder above it that is.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def folder_size(folder: Path) -> int:
    """Space the files inside take, subfolders too [bytes].

    A file that its writer removes meanwhile counts as nothing.
    Returns: 0 when there is no such folder.
    """
    total = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            total += path.lstat().st_size
        except OSError:  # removed meanwhile by its writer
            continue
    return total


def available_memory() -> int:
    """Memory of this machine for new work [bytes].

    On Linux what could be used now without swapping (MemAvailable of /proc/meminfo), which leaves out what other
    programs hold; elsewhere all physical memory, which is an upper bound.
    """
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def restart_peak() -> None:
    """From now on peak_memory() counts anew, so that each stage has its own peak (Linux).

    What the stage before has freed goes back to the system first; libraries it loaded stay.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc keeps freed memory this way
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # elsewhere the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Most memory this process held since restart_peak() [bytes].

    Where /proc is missing (macOS), the most since the process began.
    Returns: None where the system tells of no peak at all (not POSIX).
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS tells bytes, others kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _size(count: int) -> str:
    return f"{count / MEGABYTE:,.1f} MB"
