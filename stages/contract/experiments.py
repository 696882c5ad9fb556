"""What experiments ask of every stage: which of its settings name a method, take another run's work, or go by size."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from stages.contract.section import Section

SectionType = TypeVar("SectionType", bound=Section)


class AnswersExperiments(Generic[SectionType]):
    """Answers of a stage that has nothing to say; a stage's body overrides those that its section knows.

    Words are settings of its own section as `--set` states them, without the stage's name: `size=null`.
    """

    def method(self, config: SectionType) -> str:
        """Short name of the method that its artifact is made by; empty where the section names none."""
        return ""

    def with_method(self, choice: str) -> tuple[str, ...]:
        """Words that have it take another method.

        Args:
          choice: its name, or a JSON mapping of its name and options.
        """
        return ()

    def is_transferred(self, config: SectionType) -> bool:
        """True where it applies what another run has learned."""
        return False

    def on_its_own(self) -> tuple[str, ...]:
        """Words under which it uses nothing that another run has learned, which may have seen what is hidden."""
        return ()

    def merged(self, config: SectionType, group: int) -> tuple[str, ...]:
        """Words under which it does alike where a coarse cell is `group` times as wide.

        Sizes chosen by hand are chosen anew; spatial blocks keep their ground, as far as whole merged cells can.
        """
        return ()

    def layers(self, config: SectionType) -> tuple[str, ...]:
        """Names of the layers that it brings into the cube."""
        return ()

    def with_every_layer(self) -> tuple[str, ...]:
        """Words under which no layer that is declared is left out."""
        return ()

    def without(self, config: SectionType, names: Sequence[str]) -> tuple[str, ...]:
        """Words under which it leaves out these layers and no other; none where it does so already."""
        return ()

    def years(self, config: SectionType) -> tuple[int, ...]:
        """Labels of the steps of time that it has totals of, in their order."""
        return ()
