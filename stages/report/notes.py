"""What was filled, masked or fell back, in sentences for the report."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conservation.fallback import FallbackLevel
from stages.artifacts.records import CubeRecord, FieldRecord, LayerRecord, TotalRecord

FALLBACKS = (
    (FallbackLevel.PROXY, "the method saw nothing, a plain proxy placed the total"),
    (
        FallbackLevel.LAND,
        "neither method nor proxy saw anything, the total was spread evenly over valid cells",
    ),
    (FallbackLevel.UNIFORM, "no cell is valid, the total was spread over the whole block"),
)


@dataclass(frozen=True)
class Told:
    """What notes are made of.

    Attributes:
      fallback_levels: (sectors, years, h, w) the fallback level of each block.
    """

    cube: CubeRecord
    field: FieldRecord
    fallback_levels: NDArray[np.uint8]


def notes_of(cube: CubeRecord, field: FieldRecord, fallback_levels: NDArray[np.uint8]) -> list[str]:
    """Every note, in the order in which a reader meets its subject.

    Args:
      fallback_levels: (sectors, years, h, w) the fallback level of each block.
    Returns: whole sentences; none where nothing was filled, masked or fell back.
    """
    told = Told(cube, field, fallback_levels)
    return [note for source in SOURCES for note in source(told)]


def _of_training(told: Told) -> Iterator[str]:
    training = told.field.training
    if training.fell_back:
        asked = f"Asked for {training.asked}, but {training.reason}"
        yield f"{asked}: {training.fell_back}, which learns nothing, was used instead."
    if training.pretrained:
        flatters = "ground held out here may be ground they had seen, so the validation score flatters"
        yield f"Its networks began with those of {training.pretrained}: {flatters}."
    if training.pretrained_left:
        yield f"Training began with nothing learned before: {training.pretrained_left}."


def _of_extent(told: Told) -> Iterator[str]:
    if told.cube.scarce_blocks:
        blocks = f"{told.cube.scarce_blocks:,} means of blocks with too few valid cells"
        yield f"{blocks} stand for nothing: left out."
    if area := told.cube.area:
        kept = f"{area.coarse_cells:,} of {area.of:,} coarse cells"
        yield f"Only part of the totals was asked for: {kept}."


def _of_zones(told: Told) -> Iterator[str]:
    for zone in told.field.zones:
        if not zone.met:
            contradicts = f"contradicts the block totals by {zone.residual:+,.6g}; the blocks were kept."
            name = f"Zone {zone.name} ({zone.sector}, {zone.year})"
            yield f"{name}: its total of {zone.total:,.6g} {told.cube.unit} {contradicts}"
    if met := sum(zone.met for zone in told.field.zones):
        yield f"{met:,} totals of zones are met beside those of the blocks."


def _of_baselines(told: Told) -> Iterator[str]:
    training = told.field.training
    best, rivals = training.beaten_by, training.rivals
    if best and rivals and training.score is not None:
        yield (
            f"On ground held out of training, {best}, which learns nothing, missed no more of the totals than "
            f"what was learned: {rivals[best]:.3f} against {training.score:.3f} of their mass."
        )


def _of_inputs(told: Told) -> Iterator[str]:
    for total in told.cube.totals:
        yield from _of_total(total)
    for layer in told.cube.layers:
        yield from _of_layer(layer)


def _of_total(total: TotalRecord) -> Iterator[str]:
    if total.missing_cells:
        place = f"{total.source} (sector {total.sector}, {total.year})"
        what = "were read as zero" if total.missing == "zero" else "are unknown and stay without one"
        yield f"{place}: {total.missing_cells:,} cells without a value {what}."
    if total.negative_cells:
        yield f"{total.source}: {total.negative_cells:,} negative cells, kept as sinks."


def _of_layer(layer: LayerRecord) -> Iterator[str]:
    if layer.masked_cells:
        yield f"Layer {layer.name}: {layer.masked_cells:,} cells have no value and receive no mass."
    if layer.filled_cells:
        yield f"Layer {layer.name}: {layer.filled_cells:,} cells without a value were given {layer.fill:g}."
    if layer.blocky:
        said = "is as coarse as the totals: it compares blocks and tells nothing inside one"
        yield f"Layer {layer.name} {said}."


def _of_fallbacks(told: Told) -> Iterator[str]:
    outside = told.fallback_levels == FallbackLevel.OUTSIDE
    if partial := int((outside.any(axis=0) & ~outside.all(axis=0)).sum()):
        which = "block has" if partial == 1 else "blocks have"
        yield f"{partial:,} {which} no known total in some sector: the sum over sectors holds only the others."
    for level, said in FALLBACKS:
        if count := int((told.fallback_levels == level).sum()):
            yield f"{count:,} {'block' if count == 1 else 'blocks'}: {said}."
    if told.field.not_finite:
        yield f"{told.field.not_finite:,} estimates of the method were not finite and counted as nothing seen."


SOURCES = (_of_training, _of_extent, _of_zones, _of_baselines, _of_inputs, _of_fallbacks)
