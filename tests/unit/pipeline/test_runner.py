"""The loop runs what is needed, tells why, and never mixes what belongs to different settings."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_chain import BODIES, CHUNK, FAKE_EVALUATE, FAKE_TABLE, FAKES, write_config

from model.ground.errors import (
    ArtifactError,
    HectareError,
    HectareErrors,
    InputError,
    ResourceError,
    UsageError,
)
from pipeline import manifest as manifests
from pipeline import plan as planning
from pipeline import runner as loop
from pipeline import workspace as workspaces
from pipeline.cli.console import Screen
from pipeline.config.load import load
from pipeline.experiments.comparison import evaluate_all
from pipeline.runner import Runner
from pipeline.source_hashes import Hashes
from pipeline.system.signals import Stopped, Stopper
from pipeline.verify import replay
from pipeline.workspace import Shelf, Workspace

NAMES = ["ingest", "tile", "train", "infer", "mosaic"]


class Town:
    """A run of the fake chain, as a user drives it; every call is a new process in effect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = write_config(folder / "configs")
        self.root = folder / "workspace"
        self.place = self.root / "runs" / "town"

    def runner(self) -> Runner:
        return Runner(Workspace(self.root, "town"), Screen(), Stopper(), f"-c {self.file}", FAKES)

    def chain(self, *overrides: str):
        return planning.tasks(
            load(self.file, overrides, FAKE_TABLE), Workspace(self.root, "town").shelf, FAKES
        )

    def run(self, *names: str, force: Sequence[str] = (), overrides: Sequence[str] = ()) -> list[str]:
        return loop.run(self.runner(), self.chain(*overrides), names, force)

    def reasons(self, *overrides: str, force: Sequence[str] = ()) -> dict[str, str | None]:
        plans = planning.plan(self.chain(*overrides), self.runner().hashes, force)
        return {step.task.stage.name: step.reason and str(step.reason) for step in plans}

    def events(self) -> list[dict]:
        return [json.loads(line) for line in (self.place / "log.jsonl").read_text().splitlines()]

    def rewrite_source(self, text: str) -> None:
        source = self.file.parent / "source.txt"
        source.write_text(text)
        now = time.time() - 30
        os.utime(source, (now, now))


@pytest.fixture
def town(tmp_path) -> Town:
    return Town(tmp_path)


def failing(call) -> list[HectareError]:
    with pytest.raises((HectareError, HectareErrors)) as caught:
        call()
    return caught.value.faults if isinstance(caught.value, HectareErrors) else [caught.value]


def test_without_names_the_whole_chain_runs_in_order(town):
    assert town.run() == NAMES
    assert (town.place / "maps" / "heat.tif").read_text() == "network 2 cla 60water_fill"


def test_cfg_06_a_stage_before_its_inputs_names_what_is_missing_and_the_command(town):
    faults = failing(lambda: town.run("mosaic"))
    assert {type(fault) for fault in faults} == {ArtifactError}
    assert "`cube` is missing: never run" in faults[0].found
    assert faults[0].fix == f"pipeline run ingest -c {town.file}"
    assert faults[1].fix == f"pipeline run ingest tile train infer -c {town.file}"
    assert not (town.place / ".partial").exists()


def test_cfg_07_settings_changed_upstream_make_everything_after_stale_with_the_keys(town):
    town.run()
    changed = ["tile.stride=80", "tile.size=100"]
    assert town.reasons(*changed) == {
        "ingest": None,
        "tile": "`tile.size` changed 120 -> 100; `tile.stride` changed 60 -> 80",
        "train": "waits on tile",
        "infer": "waits on train",
        "mosaic": "waits on infer",
    }
    (fault,) = failing(lambda: town.run("train", overrides=changed))
    assert "`tile.stride` changed 60 -> 80" in fault.found and "pipeline run tile -c" in fault.fix
    assert town.run(overrides=changed) == NAMES[1:]
    assert "80" in (town.place / "maps" / "heat.tif").read_text()


def test_cfg_07_a_stale_artifact_that_only_looks_present_is_not_read(town):
    town.run()
    faults = failing(lambda: town.run("infer", "mosaic", overrides=["train.epochs=9"]))
    assert any("`checkpoint` is stale: `train.epochs` changed 2 -> 9" in fault.found for fault in faults)


def test_cfg_08_a_second_run_executes_no_stage_and_touches_no_file(town, idle_proof, capsys):
    town.run()
    before = idle_proof(town.folder)
    began = time.monotonic()
    assert town.run() == [] and time.monotonic() - began < 5
    assert town.run("tile", "train") == []
    assert "up to date" in capsys.readouterr().out and idle_proof(town.folder) == before


def test_cfg_08_a_fresh_source_file_does_not_break_the_idle_run(town, idle_proof):
    (town.file.parent / "source.txt").write_text("written this moment")
    town.run()
    before = idle_proof(town.folder)
    assert town.run() == [] and idle_proof(town.folder) == before


def test_cfg_09_a_plan_changes_nothing(town, idle_proof):
    town.run("ingest", "tile")
    before = idle_proof(town.folder)
    assert town.reasons("ingest.depth=5", force=["train"]) == {
        "ingest": "`ingest.depth` changed 3 -> 5",
        "tile": "waits on ingest",
        "train": "forced",
        "infer": "never run",
        "mosaic": "never run",
    }
    assert idle_proof(town.folder) == before


def test_cfg_10_forcing_a_stage_that_gives_the_same_bytes_makes_nothing_stale(town, idle_proof):
    town.run()
    cube = idle_proof((town.place / "cube").resolve())
    assert town.run("tile", force=["tile"]) == ["tile"]
    assert set(town.reasons().values()) == {None}
    assert town.run(force=["tile"]) == ["tile"]
    assert idle_proof((town.place / "cube").resolve()) == cube


def test_cfg_10_forcing_a_stage_that_gives_other_bytes_makes_later_ones_stale(town, monkeypatch):
    town.run()

    def other(config, *, cube, out):
        (out / "tiles.json").write_text("other bytes")

    monkeypatch.setattr(BODIES["tile"], "run", other)
    assert town.run("tile", force=["tile"]) == ["tile"]
    assert town.reasons()["train"] == "tiles was remade" and town.reasons()["ingest"] is None
    assert town.run() == ["train", "infer", "mosaic"]


def test_cfg_10_only_stages_that_are_to_run_can_be_forced(town):
    assert [fault.code for fault in failing(lambda: town.run("tile", force=["ingest"]))] == [2]
    (fault,) = failing(lambda: town.run("tiel"))
    assert isinstance(fault, UsageError) and "no stage `tiel`" in fault.found


def test_cfg_11_an_output_deleted_by_hand_is_named_and_made_again(town):
    town.run()
    (town.place / "tiles" / "windows.geojson").unlink()
    assert town.reasons()["tile"] == "output file windows.geojson is missing"
    assert town.run() == ["tile"]
    assert set(town.reasons().values()) == {None}


def test_cfg_11_an_output_cut_short_is_named_and_made_again(town):
    town.run()
    (town.place / "tiles" / "windows.geojson").write_text("1")
    assert town.reasons()["tile"] == "output file windows.geojson has 1 bytes, not 3"
    assert town.run() == ["tile"]


def test_cfg_11_a_deleted_link_or_artifact_is_made_again(town):
    town.run()
    (town.place / "maps").unlink()
    assert town.reasons()["mosaic"] == "never run"
    assert town.run() == ["mosaic"] and (town.place / "maps" / "heat.tif").is_file()


def test_dmg_06_a_deleted_chunk_stops_the_next_named_stage_with_variable_and_chunk(town):
    town.run("ingest")
    (town.place / "cube" / CHUNK).unlink()
    (fault,) = failing(lambda: town.run("tile"))
    assert fault.code == 4 and "cube.zarr, variable heat, chunk 0/1/2 is missing" in fault.found
    assert fault.fix == f"pipeline run ingest --force -c {town.file}"
    assert town.run("ingest", force=["ingest"]) == ["ingest"] and town.run("tile") == ["tile"]


def test_dmg_07_a_flipped_byte_is_found_before_a_stage_reads_it(town):
    town.run("ingest")
    (town.place / "cube" / CHUNK).write_text("clb")
    (fault,) = failing(lambda: town.run("tile"))
    assert fault.code == 4 and fault.where == "cube: cube.zarr, variable heat, chunk 0/1/2"
    assert fault.fix == f"pipeline run ingest --force -c {town.file}"
    assert not (town.place / "tiles").exists()


def test_dmg_02_a_changed_source_is_named(town):
    town.run()
    town.rewrite_source("Clay of the river")
    assert town.reasons()["ingest"] == "source source.txt changed"
    town.rewrite_source("clay of the river")
    assert town.reasons()["ingest"] is None


def test_a_source_touched_but_equal_makes_nothing_stale(town):
    town.run()
    os.utime(town.file.parent / "source.txt")
    assert set(town.reasons().values()) == {None}


def test_a_source_that_changes_while_it_is_read_is_refused(town, monkeypatch):
    honest = BODIES["ingest"].run

    def disturbed(config, *, out):
        honest(config, out=out)
        town.rewrite_source("silt")

    monkeypatch.setattr(BODIES["ingest"], "run", disturbed)
    (fault,) = failing(lambda: town.run("ingest"))
    assert isinstance(fault, InputError) and not (town.place / "cube").exists()
    monkeypatch.setattr(BODIES["ingest"], "run", honest)
    town.run("ingest")
    assert (town.place / "cube" / CHUNK).read_text() == "sil"


def test_a_raised_version_makes_the_stage_stale(town, monkeypatch):
    town.run()
    monkeypatch.setattr(BODIES["infer"], "VERSION", 2)
    assert town.reasons()["infer"] == "stage version 1 -> 2" and town.reasons()["mosaic"] == "waits on infer"


def test_moving_a_checkout_makes_nothing_stale(town, tmp_path):
    town.run()
    town.folder = tmp_path.rename(tmp_path.with_name("moved elsewhere"))
    town.file = town.folder / "configs" / "town.yaml"
    town.root = town.folder / "workspace"
    assert set(town.reasons().values()) == {None}
    town.folder.rename(tmp_path)


def test_volatile_files_differ_from_run_to_run_and_make_nothing_stale(town):
    town.run()
    first = (town.place / "maps" / "report.html").read_text()
    before = json.loads((town.place / "maps" / "manifest.json").read_text())["stamp"]
    town.run("mosaic", force=["mosaic"])
    assert (town.place / "maps" / "report.html").read_text() != first
    assert json.loads((town.place / "maps" / "manifest.json").read_text())["stamp"] == before


def test_a_failing_stage_harms_no_result_that_was_there(town, idle_proof):
    town.run()
    before = {name: idle_proof((town.place / name).resolve()) for name in ("cube", "tiles", "maps")}
    (fault,) = failing(lambda: town.run(overrides=["tile.fail=disk"]))
    assert isinstance(fault, ResourceError) and "tiles.json" in fault.where
    assert "free" in fault.found and "already written" in fault.wanted
    assert {name: idle_proof((town.place / name).resolve()) for name in before} == before


def test_run_03_memory_that_runs_out_is_told_as_a_resource(town):
    (fault,) = failing(lambda: town.run(overrides=["tile.fail=memory"]))
    assert isinstance(fault, ResourceError) and "memory ran out" in fault.found


def test_a_stage_resumes_from_its_partial_folder_and_ends_alike(town, monkeypatch):
    settings = ["tile.steps=4"]
    stops = iter([False, False, False, True])
    runner = town.runner()

    def stop_at_third() -> None:
        if next(stops):
            raise Stopped(15)

    monkeypatch.setattr(runner.stopper, "at_step", stop_at_third)
    with pytest.raises(Stopped) as caught:
        loop.run(runner, town.chain(*settings), ["ingest", "tile"], [])
    assert caught.value.code == 143
    (partial,) = (town.place / ".partial").iterdir()
    assert sorted(path.name for path in (partial / ".progress").iterdir()) == ["0", "1"]
    assert town.run("ingest", "tile", overrides=settings) == ["tile"]
    assert not (town.place / ".partial").exists() and not (town.place / "tiles" / ".progress").exists()


def test_a_forced_run_starts_from_nothing_but_resumes_its_own_attempt(town, monkeypatch):
    settings = ["tile.steps=3"]
    town.run("ingest", "tile", overrides=settings)
    for expected in (["0"], ["0", "1"]):
        runner = town.runner()
        stops = iter([False, True])
        monkeypatch.setattr(runner.stopper, "at_step", lambda stops=stops: stop_when(next(stops)))
        with pytest.raises(Stopped):
            loop.run(runner, town.chain(*settings), ["tile"], ["tile"])
        (progress,) = town.place.glob(".partial/tile-*/.progress")
        assert sorted(path.name for path in progress.iterdir()) == expected
    assert town.run("tile", force=["tile"], overrides=settings) == ["tile"]
    assert sorted(path.name for path in (town.place / "tiles").iterdir()) == [
        "manifest.json",
        "tiles.json",
        "windows.geojson",
    ]


def stop_when(asked: bool) -> None:
    if asked:
        raise Stopped(15)


def test_a_partial_folder_is_never_resumed_when_its_removal_was_cut_off(town, monkeypatch):
    shelf = town.runner().workspace.shelf
    partial = shelf.partial(FAKES[0], "0" * 64)
    partial.mkdir(parents=True)
    (partial / "half").write_text("")
    monkeypatch.setattr(workspaces.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        shelf.discard(partial)
    assert not partial.exists()
    monkeypatch.undo()
    town.run("ingest")
    assert not (town.place / ".partial").exists()


def killed(*arguments):
    raise KeyboardInterrupt


def test_publishing_that_was_cut_off_is_finished_without_running_the_body_again(town, monkeypatch):
    honest = Shelf._swap
    monkeypatch.setattr(Shelf, "_swap", killed)
    with pytest.raises(KeyboardInterrupt):
        town.run("ingest")
    assert not (town.place / "cube").exists()
    monkeypatch.setattr(Shelf, "_swap", honest)
    monkeypatch.setattr(BODIES["ingest"], "run", lambda config, *, out: pytest.fail("ran again"))
    assert town.run("ingest") == ["ingest"] and (town.place / "cube" / CHUNK).read_text() == "cla"


def test_a_damaged_leftover_is_thrown_away_and_the_body_runs(town, monkeypatch):
    honest = Shelf._swap
    monkeypatch.setattr(Shelf, "_swap", killed)
    with pytest.raises(KeyboardInterrupt):
        town.run("ingest")
    monkeypatch.setattr(Shelf, "_swap", honest)
    (partial,) = (town.place / ".partial").iterdir()
    (partial / CHUNK).write_text("xyz")
    town.run("ingest")
    assert (town.place / "cube" / CHUNK).read_text() == "cla"


def test_the_log_tells_every_event_with_duration_and_memory(town):
    town.run()
    town.run("tile", force=["tile"])
    events = town.events()
    assert [event["event"] for event in events[:3]] == ["started", "finished", "started"]
    finished = [event for event in events if event["event"] == "finished"]
    assert [event["stage"] for event in finished] == [*NAMES, "tile"]
    assert all(event["seconds"] >= 0 and event["peak_bytes"] > 1_000_000 for event in finished)
    assert {"stage": "tile", "text": "3 windows dropped", "warning": True}.items() <= events[3].items()


def evaluated(town: Town, *overrides: str) -> Path:
    config = load(town.file, ["evaluate.methods=[uniform, network]", *overrides], FAKE_TABLE)
    return evaluate_all(town.runner(), config, FAKES, FAKE_EVALUATE).link


def test_every_method_makes_maps_from_the_same_cube_and_tiles(town, idle_proof):
    scores = (evaluated(town) / "scores.md").read_text().splitlines()
    assert scores == ["network: network 2 cla 60water_fill", "uniform: uniform 2 cla 60water_fill"]
    aside = town.place / "evaluate" / "uniform"
    assert sorted(path.name for path in aside.iterdir()) == [".artifacts", "checkpoint", "field", "maps"]
    before = idle_proof(town.folder)
    evaluated(town)
    assert idle_proof(town.folder) == before


def test_a_changed_setting_reaches_the_maps_of_every_method(town):
    evaluated(town)
    assert (evaluated(town, "train.epochs=7") / "scores.md").read_text().count(" 7 ") == 2


def test_verify_replays_hashes_and_certificate(town):
    evaluated(town)
    assert list(replay(town.runner(), FAKES, FAKE_EVALUATE))[-1] == "certificate: passed"
    harmed = town.place / "evaluate" / "uniform" / "maps" / "heat.tif"
    harmed.write_text(harmed.read_text().upper())
    (fault,) = failing(lambda: list(replay(town.runner(), FAKES, FAKE_EVALUATE)))
    assert fault.code == 4 and "evaluate/uniform/maps: heat.tif" in fault.where
    assert "pipeline evaluate" in fault.fix


def test_verify_fails_when_the_certificate_does_not_hold(town):
    town.run(overrides=["train.method=bad"])
    (fault,) = failing(lambda: list(replay(town.runner(), FAKES, FAKE_EVALUATE)))
    assert fault.code == 7


def test_verify_without_maps_says_what_makes_them(town):
    (fault,) = failing(lambda: list(replay(town.runner(), FAKES, FAKE_EVALUATE)))
    assert fault.code == 4 and fault.fix == f"pipeline run -c {town.file}"


def test_a_file_written_this_moment_is_not_remembered_by_its_time(tmp_path):
    """Two writes within one tick of the clock leave size and time alike; only the bytes tell them apart."""
    source, hashes = tmp_path / "source.txt", Hashes(tmp_path / "hashes.json")
    source.write_text("clay")
    moment = source.stat().st_mtime_ns
    first = hashes.of(str(source))
    source.write_text("silt")
    os.utime(source, ns=(moment, moment))
    assert hashes.of(str(source)) != first


def test_an_old_file_is_not_read_again(tmp_path, monkeypatch):
    source, hashes = tmp_path / "source.txt", Hashes(tmp_path / "hashes.json")
    source.write_text("clay")
    os.utime(source, (1e9, 1e9))
    first = hashes.of(str(source))
    hashes.save()
    monkeypatch.setattr(manifests, "file_hash", lambda path: pytest.fail("read again"))
    assert Hashes(tmp_path / "hashes.json").of(str(source)) == first


@pytest.fixture
def stopped(town, monkeypatch):
    """A town whose tiling was stopped after two of four steps; its states are its finished steps."""
    body = BODIES["tile"]

    def states(config, out):
        return sorted(path.name for path in (out / ".progress").iterdir())

    def restore(config, out, name):
        if name not in states(config, out):
            raise UsageError("--from", f"no state {name!r}", ", ".join(states(config, out)), "check the name")
        for later in states(config, out):
            if later > name:
                (out / ".progress" / later).unlink()
        return f"tile: back at {name}"

    monkeypatch.setattr(body, "keeps_states", True)
    monkeypatch.setattr(body, "states", states)
    monkeypatch.setattr(body, "restore", restore)
    four = ("tile.steps=4",)
    runner = town.runner()
    heard = []

    def stop():
        heard.append(1)
        if len(heard) == 4:  # once for each stage as it begins, then after each step
            raise Stopped(2)

    monkeypatch.setattr(runner.stopper, "at_step", stop)
    with pytest.raises(Stopped):
        loop.run(runner, town.chain(*four), ["ingest", "tile"])
    return town, four


def journey(runner):
    """What a listener hears of the steps still taken."""
    told = []
    runner.screen.hear = lambda news: told.append(news)
    return told


def test_unfinished_work_may_go_back_to_a_state_by_name(stopped):
    town, four = stopped
    runner = town.runner()
    assert len(loop.states(runner, town.chain(*four))) >= 2
    runner.back = "0"
    told = journey(runner)
    assert loop.run(runner, town.chain(*four), ["tile"]) == ["tile"]
    assert next(news.before for news in told if hasattr(news, "before")) == 1


def test_unfinished_work_is_begun_anew_when_resuming_is_refused(stopped):
    town, four = stopped
    runner = town.runner()
    runner.fresh = True
    told = journey(runner)
    assert loop.run(runner, town.chain(*four), ["tile"]) == ["tile"]
    assert next(news.before for news in told if hasattr(news, "before")) == 0


def test_there_is_nothing_to_go_back_to_under_other_settings_or_when_all_is_done(stopped):
    town, four = stopped
    runner = town.runner()
    runner.back = "0"
    with pytest.raises(UsageError, match="nothing is unfinished") as caught:
        loop.run(runner, town.chain("tile.steps=5"))
    assert caught.value.code == 2
    town.run(overrides=four)
    with pytest.raises(UsageError, match="nothing is unfinished"):
        loop.run(runner, town.chain(*four))


def test_what_a_stage_leaves_for_the_record_outlives_its_artifact_with_the_date(town, monkeypatch):
    body = BODIES["train"]
    make = body.run

    def with_record(config, *, out, **needs):
        make(config, out=out, **needs)
        (out / ".history").mkdir()
        (out / ".history" / "summary.json").write_text(f"{config.epochs}")

    monkeypatch.setattr(body, "run", with_record)
    town.run()
    town.run(overrides=["train.epochs=7"])
    kept = sorted((town.place / "history").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    assert [(folder / "summary.json").read_text() for folder in kept] == ["2", "7"]
    assert all(folder.name[:2] == "20" and "-train-" in folder.name for folder in kept)
    assert not (town.place / "checkpoint" / ".history").exists()
