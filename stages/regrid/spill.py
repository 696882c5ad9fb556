"""Shapes by bin of the fine grid, in memory while they are few and on the disk beyond."""

import struct
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

HELD = 64 << 20  # bytes of shapes kept in memory before they go to the disk
Bin = tuple[int, int]  # row and column among the bins


class Bins:
    """Shapes by bin, in memory while they are few and on the disk beyond; they come back in the order they came.

    Attributes:
      sizes: bytes by bin.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.sizes: dict[Bin, int] = {}
        self._held: dict[Bin, list[bytes]] = {}
        self._bytes = 0
        self._parent = folder
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, place: Bin, shapes: Iterable[bytes]) -> None:
        for shape in shapes:
            self._held.setdefault(place, []).append(shape)
            self._bytes += len(shape)
            self.sizes[place] = self.sizes.get(place, 0) + len(shape)
        if self._bytes > HELD:
            self._spill()

    def get(self, place: Bin) -> list[bytes]:
        shapes = []
        if self._folder is not None and (file := self._file(place)).exists():
            data, at = file.read_bytes(), 0
            while at < len(data):
                (size,) = struct.unpack_from("<I", data, at)
                shapes.append(data[at + 4 : at + 4 + size])
                at += 4 + size
        return shapes + self._held.get(place, [])

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix=".shapes-", dir=self._parent)
        for place, shapes in self._held.items():
            with self._file(place).open("ab") as stream:
                for shape in shapes:
                    stream.write(struct.pack("<I", len(shape)))
                    stream.write(shape)
        self._held, self._bytes = {}, 0

    def _file(self, place: Bin) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{place[0]}_{place[1]}"
