"""What the table tells of a method: where it lives, what it may be told, what it needs, and when to use it."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from model.method import MethodClass
from model.options import MethodOptions


@dataclass(frozen=True)
class MethodRow:
    """One method, described without importing its network.

    Attributes:
      place: `module:Class` of the method.
      summary: one line.
      when: on what ground to choose it, and when not.
      source: where it is published.
      options: `module:Class` of its options, in a module that imports no torch.
      trained_on: what the training loop shows it, totals or pairs of coarse and fine fields; None: no steps are taken.
      layers: it uses covariates, so without any it has nothing to say.
      pretrained: its networks may begin with those of another run's checkpoint.
      any_factor: what it learned at one factor it applies at any other.
      package: what it imports beyond the core, brought by the extra of the name `extra`.
    """

    place: str
    summary: str
    when: str
    source: str
    options: str = "model.options:MethodOptions"
    trained_on: Literal["totals", "pairs"] | None = None
    layers: bool = True
    pretrained: bool = False
    any_factor: bool = False
    package: str | None = None
    extra: str | None = None

    def method_class(self) -> MethodClass:
        """The class; heavy libraries load only now."""
        found: MethodClass = _named(self.place)
        return found

    def options_class(self) -> type[MethodOptions]:
        """The class of its options; loads no torch."""
        found: type[MethodOptions] = _named(self.options)
        return found

    @property
    def installed(self) -> bool:
        """Whether what the method takes is there; nothing is imported."""
        return self.package is None or find_spec(self.package) is not None

    def needs(self) -> tuple[str, ...]:
        """In words, what a run must offer beside the totals."""
        needs = ["layers (`ingest.covariates` or `ingest.vectors`)"] if self.layers else []
        if self.trained_on == "pairs":
            needs.append("fine fields of some dates (`ingest.pairs`)")
        if self.package is not None:
            needs.append(f"the extra `{self.extra}`")
        return tuple(needs)


def _named(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
