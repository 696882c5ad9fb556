"""The region of 2.2 million fine cells runs within the memory that is promised."""

import json

import numpy as np
import pytest
import rasterio

QUICK = ("--set", "train.epochs=1", "--set", "train.steps_per_epoch=4")
LIMIT = 2e9  # bytes; training may take three times as much


@pytest.mark.slow
def test_no_stage_of_the_region_needs_more_memory_than_promised(tmp_path, pipeline):
    pipeline("run", "-c", "configs/vienna_region.yaml", "--workspace", tmp_path, *QUICK)
    run = tmp_path / "runs" / "vienna_region"
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    peaks = {event["stage"]: event["peak_bytes"] for event in events if event["event"] == "finished"}
    assert set(peaks) == {"ingest", "tile", "train", "infer", "mosaic"}
    assert all(peak < (3 * LIMIT if stage == "train" else LIMIT) for stage, peak in peaks.items()), peaks
    certificate = json.loads((run / "maps" / "certificate.json").read_text())
    assert certificate["passed"]
    with rasterio.open(run / "maps" / "heat_demand_all_2012.tif") as data:
        mass = data.read(1).astype(np.float64)
    assert mass.shape == (1210, 1810)
    assert mass.sum() == pytest.approx(19547841.5244 + 7534566.4040, rel=1e-9)  # as SOURCE.md names them
