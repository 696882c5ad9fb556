"""What every network that learns from totals may be told: how long, how fast, from how much at once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Learning:
    """What may be chosen; the train section of a configuration offers the same names.

    Attributes:
      seed: of the first weights.
      scales: totals shown along 12 coarse cells in training, one drawn for each tile.
      epochs, steps_per_epoch, batch_tiles, learning_rate, patience: see the train section.
      weight_decay, clip, average: of AdamW; largest gradient norm; memory of the averaged weights.
      width: channels of the network.
      blocky_layers: drop or average covariates as coarse as a block.
    """

    seed: int = 0
    scales: tuple[int, ...] = (6,)
    epochs: int = 8
    steps_per_epoch: int = 25
    batch_tiles: int = 3
    learning_rate: float = 3e-3
    patience: int = 5
    weight_decay: float = 1e-3
    clip: float = 1.0
    average: float = 0.9
    width: int = 24
    blocky_layers: str = "drop"

    @classmethod
    def taken_from(cls, section: Any) -> Self:
        """The same names of any object that has them; the defaults for the rest."""
        return cls(
            **{item.name: getattr(section, item.name) for item in fields(cls) if hasattr(section, item.name)}
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of plain()."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        return cls(**values)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    def phase(self, steps: int, tolerance: float) -> dict[str, Any]:
        """Options of a phase of so many steps an epoch.

        Args:
          tolerance: share by which an earlier state may be worse than the best and still be preferred.
        """
        names = ("learning_rate", "weight_decay", "clip", "average", "patience")
        chosen = {name: getattr(self, name) for name in names}
        return {"steps": steps, "batch": self.batch_tiles, **chosen, "tolerance": tolerance}
