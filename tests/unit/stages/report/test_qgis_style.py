"""Legends and styles: limits come from the data, zero is clear, labels carry the unit."""

import base64
import io
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from PIL import Image

from stages.artifacts.cube import Cube
from stages.artifacts.maps import read_bands
from stages.report.certificate import read_map
from stages.report.pictures import NODATA_COLOUR, signed_picture
from stages.report.qgis_style import (
    SIGNED,
    Legend,
    amount,
    block_style,
    colour_at,
    legend,
    legend_of,
    map_style,
    number,
)
from tests.small_world import World, build_world


@pytest.fixture
def small_world(tmp_path: Path) -> Callable[..., World]:
    """A function that writes a world of 4 x 3 blocks, or of the totals given."""
    return partial(build_world, tmp_path)


def items(text: str) -> list[dict[str, str]]:
    return [item.attrib for item in Xml.fromstring(text).iter("item")]


def test_limits_of_a_streamed_map_are_the_quantiles_of_its_cells_above_zero(small_world):
    world = small_world(
        totals=np.random.default_rng(3).lognormal(5.0, 2.0, (1, 1, 30, 30)), sectors=("homes",)
    )
    maps = world.make_maps()
    cube = Cube.open(world.cube)
    reading = read_map(maps / "heat_homes_2012.tif", cube)
    cells = np.concatenate([band.ravel() for band in _bands(maps, cube)])
    for share in (0.02, 0.5, 0.95):
        assert reading.quantile(share) == pytest.approx(np.quantile(cells[cells > 0], share), rel=0.02)
    streamed, at_hand = legend(reading, "MWh").stops, legend_of(cells, "MWh").stops
    assert streamed == pytest.approx(at_hand, rel=0.11)  # both are rounded to two digits


def _bands(maps, cube):
    return [band for _, band in read_bands(maps / "heat_homes_2012.tif", cube.fine, cube.factor, cube.coarse)]


def test_the_style_has_rising_values_a_clear_zero_and_units():
    found = items(map_style(Legend((0.5, 3.0, 1200.0), 0.0, "MWh")))
    assert [float(item["value"]) for item in found] == [0.0, 0.5, 3.0, 1200.0]
    assert [item["alpha"] for item in found] == ["0", "255", "255", "255"]
    assert [item["label"] for item in found] == ["0 MWh", "0.5 MWh", "3 MWh", "1,200 MWh"]
    assert len({item["color"] for item in found[1:]}) == 3


def test_sinks_have_a_colour_of_their_own():
    found = items(map_style(Legend((1.0,), -4.0, "t")))
    assert [float(item["value"]) for item in found] == [-4.0, 0.0, 1.0]


def test_a_map_without_mass_has_a_style_too():
    assert [item["value"] for item in items(map_style(Legend((), 0.0, "t")))] == ["0.0"]


def test_a_unit_with_angle_brackets_stays_text():
    assert items(map_style(Legend((1.0,), 0.0, '<t> & "x"')))[0]["label"] == '0 <t> & "x"'


def test_the_block_style_ends_at_the_limit():
    values = [float(item["value"]) for item in items(block_style(1e-6))]
    assert values[0] == -1e-6 and values[-1] == 1e-6 and values == sorted(values)


def test_the_ramp_darkens_evenly():
    light = [sum(np.multiply((0.2126, 0.7152, 0.0722), colour_at(share))) for share in np.linspace(0, 1, 50)]
    assert all(later < earlier for earlier, later in pairwise(light))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.05, "0.05"), (3.14159, "3.14"), (1200.0, "1,200"), (4e-7, "4.00e-7")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_amounts_are_in_full():
    assert amount(19547842.0) == "19,547,842"
    assert amount(7.0) == "7"
    assert amount(313.9101234) == "313.91"


def test_signed_values_run_from_blue_over_pale_to_red():
    """-3 and less is the first colour, +3 the last, nothing grey; 0 lies half-way and is the lightest."""
    address = signed_picture(np.array([[-3.0, 0.0, 3.0, np.nan]]), 3.0)
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")
    colours = [picture.getpixel((col, 0)) for col in range(4)]
    assert (colours[0], colours[2], colours[3]) == (SIGNED[0], SIGNED[-1], NODATA_COLOUR)
    assert colours[0][2] > colours[0][0] and colours[2][0] > colours[2][2]
    assert sum(colours[1]) > max(sum(colours[0]), sum(colours[2]))
