"""What went wrong, in four parts a user can act on: where, found, wanted, fix."""

from collections.abc import Iterable


class Fault(Exception):
    """One thing that is wrong.

    Args:
      where: file, band or variable, and its name.
      found: what is there.
      wanted: what was expected.
      fix: the setting or command that helps.
    """

    code = 1

    def __init__(self, where: str, found: str, wanted: str, fix: str) -> None:
        super().__init__(f"{where}: {found}")
        self.where, self.found, self.wanted, self.fix = where, found, wanted, fix

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        return type(self), (self.where, self.found, self.wanted, self.fix)


class UsageFault(Fault):
    """The command line or the configuration is wrong."""

    code = 2


class InputFault(Fault):
    """An input is wrong: place, values, units, time, damaged, hostile."""

    code = 3


class ArtifactFault(Fault):
    """Something made by an earlier stage is missing, stale or damaged."""

    code = 4


class BusyFault(Fault):
    """The workspace is in use by another run."""

    code = 5


class ResourceFault(Fault):
    """A resource ran out or is not usable: disk, memory, worker, permission."""

    code = 6


class NumberFault(Fault):
    """The numbers went wrong: non-finite loss, failed conservation check."""

    code = 7


class Faults(Exception):
    """Several faults of the same pass, told together; the first one gives the exit code."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))

    @property
    def code(self) -> int:
        return self.faults[0].code


def raise_all(faults: list[Fault]) -> None:
    """Raises what was gathered; silent when nothing was."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Faults(faults)
