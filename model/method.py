"""What every way of downscaling offers, whether it learns or not."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Bools, Masses, Scene, Tile
from model.ground.survey import Survey
from model.options import MethodOptions
from model.training.options import TrainingOptions
from model.training.pairs import Pair
from model.training.phase import Phase
from model.training.protocol import Learner


class Facts(TypedDict):
    """What every method tells of itself; most tell more, each in a record of its own that holds these too."""

    summary: str
    learns: bool


class NothingLearned(TypedDict):
    """What the checkpoint of a method holds that neither chooses nor learns anything."""


@runtime_checkable
class Method(Protocol):
    """Turns a scene into a raw estimate; learns in phases, or not at all.

    A method is made by `Class(options)` (options: a frozen pydantic Section or None), then either
    `prepare(survey)` and training, or `load_state(...)`.
    What more a method can do it says by keeping one of the protocols below.
    """

    def prepare(self, survey: Survey) -> None:
        """Looks at the map once: picks scales, proxies, sizes. Called before training or first use."""

    def phases(self) -> tuple[Phase, ...]:
        """What the training loop is to do; empty for a method that does not learn."""

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """Raw estimate (sectors, time, H, W) >= 0 in mass per fine cell.

        An exact 0 states that the cell may not receive mass while its block has another place.
        NaN is allowed and counted: the fallback takes over.
        """

    def state(self) -> tuple[dict[str, NDArray], Mapping[str, object]]:
        """All it has learned: arrays by name, and plain JSON values in a record of its own."""

    def load_state(self, arrays: Mapping[str, NDArray], plain: Any) -> None:
        """The inverse of state().

        Args: plain: read from a checkpoint, so unchecked: each method names the record that it expects.
        Raises: KeyError, TypeError, ValueError or RuntimeError where it is another; who reads the file makes a
          fault of it.
        """

    def describe(self) -> Facts:
        """Plain facts for the report: what was chosen and how large it is."""


class MethodClass(Protocol):
    """What the table of methods leads to."""

    def __call__(self, options: MethodOptions | None, training: TrainingOptions | None = None) -> Method:
        """A method that is not yet prepared.

        Args:
          options: of the class that its row names; None: the defaults.
          training: of the loop, of which its phases are made; None: the defaults.
        """


@runtime_checkable
class Placeable(Protocol):
    """Has networks that run on a device."""

    def place(self, device: str) -> None:
        """Moves its networks to cpu or cuda."""


@runtime_checkable
class Trainable(Method, Placeable, Protocol):
    """Learns from totals alone: one learner for each part of the ground that is held out."""

    def refusal(self, survey: Survey) -> str | None:
        """Why it would rather not learn from this map; None when it may."""

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Measures what it needs on some tiles of the learned ground, after prepare and before training."""

    def members(self, folds: Sequence[int]) -> tuple["ScoredLearner", ...]:
        """One learner for each fold, trained while it is held out; what had been learned is forgotten.

        Without folds the method is what it knows before it learns.
        """

    def keep(self, folds: Sequence[int]) -> None:
        """Forgets what could not be trained."""


class ScoredLearner(Learner, Protocol):
    """A learner whose variants validation compares on totals it was not shown."""

    def candidates(self, scene: Scene) -> Mapping[str, NDArray]:
        """Estimates among which validation chooses; plain variants of one trained state."""


@runtime_checkable
class PairTrainable(Method, Placeable, Learner, Protocol):
    """Learns from pairs of coarse and fine fields; it is its own learner."""

    @property
    def shifts_blocks(self) -> bool:
        """True = blocks are laid anew over the fine field at each draw; False = the run's own alone."""

    def fit(self, pairs: Sequence[Pair]) -> None:
        """Fits its transform to fine values of training dates, before training."""


@runtime_checkable
class WarmStartable(Protocol):
    """May begin with the networks of another training on the same inputs."""

    @property
    def begun(self) -> bool:
        """Networks begin with those of another training."""

    def incompatibilities(self, donor: Any) -> list[str]:
        """In words, why networks of another training cannot begin here; empty when they can."""

    def warm_start(self, donor: Any) -> None:
        """The networks of the next members() begin with those of another training."""

    def before_learning(self, scene: Scene) -> NDArray[np.float32]:
        """(sectors, time, H, W) what it would say without any network."""


@runtime_checkable
class BlockPostprocessor(Protocol):
    """Has a word on whole blocks, once the seams of windows are blended."""

    def finish(self, estimate: NDArray, totals: Masses, known: Bools) -> Masses:
        """Args: estimate: (sectors, time, H, W); totals, known: (sectors, time, h, w), the inventory's own."""


@runtime_checkable
class ThresholdAware(Protocol):
    """Knows the least mass that an inventory reports in a cell."""

    @property
    def least(self) -> dict[str, float]:
        """By sector; sectors of which nothing is known are left out."""

    def forget_threshold(self) -> None:
        """Called where it is applied to other totals than those it learned from."""


@runtime_checkable
class ContentComparing(Protocol):
    """Compares contents of fine fields by a network whose weights a user brings."""

    def compare_by(self, weights: Mapping[str, NDArray], words: str) -> None:
        """Args: weights: by their published names; words: what the file is, for every table."""


@runtime_checkable
class ExpertNetwork(Protocol):
    """A learner in which a gate chooses experts for each place."""

    usage: list[float]

    def where(self, scene: Scene) -> NDArray[np.int64]:
        """(time, H, W) first choice among the experts at each place."""
