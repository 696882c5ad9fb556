"""The section `evaluate`: what is compared, how, and with which truth."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from model.methods.choice import MethodChoice
from stages.contract.section import Renamed, SafeName, Section
from stages.declare.types import Pair
from stages.evaluate.truth import Truth

Names = Annotated[tuple[SafeName, ...], Field(strict=False)]
Methods = Annotated[tuple[MethodChoice, ...], Field(strict=False)]


class Config(Section):
    """What is compared, how, and with which truth."""

    RENAMED: ClassVar[Mapping[str, Renamed]] = {
        "block": Renamed("spatial_block"),
        "draws": Renamed("bootstrap_draws"),
        "moves": Renamed("emd_blocks"),
        "groups": Renamed("coarsenings"),
    }

    # Each by name with its defaults, or {name: NAME, option: value}; what `train` says of the loop holds for all.
    methods: Methods = tuple(map(MethodChoice.parse, ("uniform", "single_proxy", "smooth_mask")))
    methods_if_installed: Methods = ()  # as well, where the extra they take is installed; else the table says so
    cases: dict[SafeName, Names] = Field(default_factory=dict)  # name -> the layers used; none: the run's own
    truth: Annotated[tuple[Truth, ...], Field(strict=False)] = ()
    spatial_block: PositiveInt = 10  # coarse cells along the spatial blocks of the bootstrap
    bootstrap_draws: Annotated[int, Field(ge=100, le=100_000)] = 1000  # of the bootstrap
    emd_blocks: NonNegativeInt = 500  # blocks whose earth mover's distance is taken; 0: none
    seed: NonNegativeInt = 0  # of the draws and of the sample of blocks
    coarsenings: Annotated[
        tuple[Annotated[int, Field(ge=2, le=100)], ...], Field(strict=False, min_length=1)
    ] = (*(2, 3, 4, 6, 10),)  # coarse cells merged along an axis by the protocol scale_shift
    match: bool = True  # there, layers are averaged too: none is finer against a block than in the run itself
    folds: Annotated[int, Field(ge=2, le=20)] = (
        5  # parts of the ground, each unseen once, by the protocol spatial_cross_validation
    )
    wet: PositiveFloat = 1.0  # means: depth of a step from which a cell is wet, in the unit of the maps
    # means: x, y (degrees where cells have their own) of places whose series are drawn; none: four of them
    sites: Annotated[tuple[Pair, ...], Field(strict=False)] = ()
    shifts: Annotated[tuple[Annotated[int, Field(ge=1, le=50)], ...], Field(strict=False)] = (
        *(1, 2, 3),
    )  # fine cells a layer is shifted by in the protocol sensitivity
    blurs: Annotated[tuple[Annotated[int, Field(ge=1, le=50)], ...], Field(strict=False)] = (
        1,
    )  # fine cells it is blurred over, on each side

    @field_validator("methods", "methods_if_installed")
    @classmethod
    def _once(cls, choices: tuple[MethodChoice, ...]) -> tuple[MethodChoice, ...]:
        """A method has one row in a table; named twice alike it is compared once."""
        different = {choice.name: choice for choice in choices}
        if odd := [choice.name for choice in choices if choice != different[choice.name]]:
            raise ValueError(f"each method with one set of options; {', '.join(odd)} has two")
        return tuple(different.values())
