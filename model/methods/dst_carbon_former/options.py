"""What the default method and its two published forms may be told."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat

from model.options import MethodOptions

BlockyLayers = Annotated[
    Literal["drop", "average"],
    Field(description="covariates as coarse as a block: leave out, or show averaged over the blocks shown"),
]
Part = Literal["scan", "experts", "sft", "frequency", "attention", "law"]
Addition = Literal["fusion", "valley", "context", "exact_zero", "years_wave", "coordinates"]


class DSTCarbonFormerOptions(MethodOptions):
    """Of the default method."""

    noise: Annotated[
        NonNegativeFloat, Field(description="added to inputs in training [standard deviations]")
    ] = 0.1
    network: Annotated[
        Literal["plain", "dual_stream"],
        Field(description="covariates alone, or with the base and a scan for context"),
    ] = "plain"
    width: Annotated[int, Field(ge=4, le=512, description="channels of the network")] = 24
    pool: Annotated[
        int, Field(ge=1, le=64, description="dual_stream: fine cells along a place of the scan")
    ] = 8
    blocky_layers: BlockyLayers = "drop"
    reporting_threshold: Annotated[
        Literal["auto", "none"] | PositiveFloat,
        Field(
            description="mass that a fine cell holds at least if any [unit of the maps]: many inventories report "
            "nothing below; auto: read off the smallest totals"
        ),
    ] = "auto"

    def for_means(self) -> Self:
        """Without a threshold: a block's mean times its room is no sum of what cells report."""
        return self.model_copy(update={"reporting_threshold": "none"})


class PublishedOptions(MethodOptions):
    """What both published forms hear; their pool differs."""

    width: Annotated[int, Field(ge=4, le=512, description="channels of the network, a multiple of 4")] = 64
    pool: Annotated[int, Field(ge=1, le=64, description="fine cells along a place of the scan")] = 4
    blocky_layers: BlockyLayers = "drop"
    without: Annotated[
        tuple[Part, ...], Field(description="parts left out; law: of the loss, not of the network")
    ] = ()
    added: Annotated[tuple[Addition, ...], Field(description="parts that neither published form has")] = ()
    augment: Annotated[bool, Field(description="flips and quarter turns of each batch")] = True
    drop_layers: Annotated[
        float, Field(ge=0, lt=1, description="chance that a covariate is hidden in a step")
    ] = 0.0


class V17Options(PublishedOptions):
    """Of the form v1.7."""


class V30Options(PublishedOptions):
    """Of the form v3.0."""

    pool: Annotated[int, Field(ge=1, le=64, description="fine cells along a place of the scan")] = 2
    sum_loss: Annotated[
        Literal["published", "log_sum", "tweedie"], Field(description="what is minimised on block sums")
    ] = "published"
