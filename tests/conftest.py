"""Fixtures every kind of test may use."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import PROFILE

settings.load_profile(PROFILE)

# Two test workers share the cores: threads of their own would only wait for each other. Set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Each test draws the same weights, alone or among others; torch is left unloaded where nothing asks for it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def idle_proof() -> Callable[[Path], str]:
    """Hash over names, sizes, contents and time stamps of a whole tree."""

    def proof(root: Path) -> str:
        digest = hashlib.sha256()
        for path in sorted(root.rglob("*")):
            state = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            digest.update(f"{path.relative_to(root)} {state.st_size} {state.st_mtime_ns}".encode() + content)
        return digest.hexdigest()

    return proof


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run whole chains: they may take longer than what guards the others against hanging."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(1800))
