"""A chunk written straight to its file is the chunk that zarr writes."""

import numpy as np
import pytest

from stages.formats import zarr_groups as arrays


def chunks_of(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(25, 33), (3, 25, 33)])
def test_every_chunk_has_the_bytes_that_zarr_gives_it(tmp_path, dtype, shape):
    values = np.random.default_rng(3).integers(0, 9, shape).astype("float64")
    values[..., 3, 4] = np.nan if dtype == "float32" else 0
    square, leading = (10, 10), shape[:-2]
    for name in ("ours", "theirs"):
        group = arrays.create_group(tmp_path / name, {})
        fill = np.nan if dtype == "float32" else None
        dims = ("time", "y", "x")[-len(shape) :]
        array = arrays.layout(group, "a", shape, dims, dtype, {}, chunks=(*leading, *square), fill=fill)
        for row in range(0, 25, 10):
            for col in range(0, 33, 10):
                place = (
                    *(slice(None) for _ in leading),
                    slice(row, min(row + 10, 25)),
                    slice(col, min(col + 10, 33)),
                )
                if name == "ours":
                    arrays.write_region(array, place, values[place])
                else:
                    array[place] = values[place]
    assert chunks_of(tmp_path / "ours") == chunks_of(tmp_path / "theirs")
    assert len(chunks_of(tmp_path / "ours")) == 2 + 12  # metadata of group and array, 3 x 4 chunks


def test_a_part_of_a_chunk_leaves_the_rest_as_it_was(tmp_path):
    group = arrays.create_group(tmp_path / "store", {})
    array = arrays.layout(group, "a", (20, 20), ("y", "x"), "float32", {}, chunks=(10, 10), fill=np.nan)
    arrays.write_region(array, (slice(0, 10), slice(0, 10)), np.ones((10, 10)))
    arrays.write_region(array, (slice(5, 15), slice(0, 10)), np.full((10, 10), 2.0))
    found = np.asarray(array[:, :10])
    assert (found[:5] == 1).all() and (found[5:15] == 2).all() and np.isnan(found[15:]).all()
