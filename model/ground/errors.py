"""What went wrong, in four parts a user can act on: where, found, wanted, fix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Fix:
    """What helps, with the commands it names apart, so that a caller can add the options of its run to them.

    Attributes:
      commands: the words after `pipeline`, such as "run infer --force".
      text: with `{}` where each command stands.
    """

    commands: tuple[str, ...]
    text: str = "{}"

    def __str__(self) -> str:
        """As a user reads it."""
        return self.text.format(*map("pipeline {}".format, self.commands)) if self.commands else self.text

    def of_run(self, options: str) -> "Fix":
        """The same with the options that tell which run, such as "-c town.yaml", behind every command."""
        return Fix(tuple(f"{command} {options}" for command in self.commands), self.text)


def remake(stage: str) -> Fix:
    """The fix for a damaged artifact: its stage is run anew.

    Args: stage: its name in the chain. Without --force a stage whose stamp is fresh would not run again.
    """
    return Fix((f"run {stage} --force",))


class HectareError(Exception):
    """One thing that is wrong.

    Args:
      where: file, band or variable, and its name.
      found: what is there.
      wanted: what was expected.
      fix: the setting or command that helps; a Fix where it names a command that needs the options of the run.
    """

    code = 1

    def __init__(self, where: str, found: str, wanted: str, fix: str | Fix) -> None:
        super().__init__(f"{where}: {found}")
        self.where, self.found, self.wanted = where, found, wanted
        self._fix = fix if isinstance(fix, Fix) else Fix((), fix)

    def __reduce__(self) -> tuple[type, tuple[str, str, str, Fix]]:
        return type(self), (self.where, self.found, self.wanted, self._fix)

    @property
    def fix(self) -> str:
        """The setting or command that helps, in words."""
        return str(self._fix)

    def of_run(self, options: str) -> Self:
        """The same fault, the commands of its fix complete with the options of a run.

        Args:
          options: such as "-c town.yaml --workspace here"; empty where no run is known.
        """
        if not options:
            return self
        return type(self)(self.where, self.found, self.wanted, self._fix.of_run(options))


class UsageError(HectareError):
    """The command line or the configuration is wrong."""

    code = 2


class InputError(HectareError):
    """An input is wrong: place, values, units, time, damaged, hostile."""

    code = 3


class ArtifactError(HectareError):
    """Something made by an earlier stage is missing, stale or damaged."""

    code = 4


class BusyError(HectareError):
    """The workspace is in use by another run."""

    code = 5


class ResourceError(HectareError):
    """A resource ran out or is not usable: disk, memory, worker, permission."""

    code = 6


class NumberError(HectareError):
    """The numbers went wrong: non-finite loss, failed conservation check."""

    code = 7


class HectareErrors(Exception):
    """Several faults of the same pass, told together; the first one gives the exit code."""

    def __init__(self, faults: Iterable[HectareError]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(map(str, self.faults)))

    @property
    def code(self) -> int:
        """The exit code of the first."""
        return self.faults[0].code


def raise_together(faults: list[HectareError]) -> None:
    """Raises what was gathered; silent when nothing was.

    Args:
      faults: of one pass over the input, in the order they were met.
    Raises: the fault itself when it is the only one, else HectareErrors with all of them.
    """
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise HectareErrors(faults)
