"""The command answers with the right words and exit code; each test starts it as a user does."""

import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_chain import CHUNK, write_config

from model.ground.errors import ArtifactError, Fix, UsageError, remake
from pipeline import runner as loop
from pipeline.cli.messages import block
from pipeline.cli.request import default_config, default_root
from pipeline.cli.run import ASK, chosen_state

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "fake_chain.py")]


class Terminal:
    """Starts the `pipeline` command over the fake chain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = write_config(folder / "configs")
        self.place = folder / "workspace" / "runs" / "town"
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def call(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, words[0], "-c", str(self.file), *words[1:]]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [*PROGRAM, words[0], "-c", str(self.file), *words[1:]]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def terminal(tmp_path) -> Terminal:
    return Terminal(tmp_path)


def blocks(text: str) -> list[dict[str, str]]:
    """Error blocks on standard error: four labelled lines each, and nothing else."""
    found = []
    for part in text.strip().split("\n\n"):
        match = re.fullmatch(r"where: +(.+)\nfound: +(.+)\nwanted: +(.+)\nfix: +(.+)", part)
        assert match, text
        found.append(dict(zip(("where", "found", "wanted", "fix"), match.groups(), strict=True)))
    return found


def test_help_answers_at_once():
    """Were a heavy package imported at the top of the command line, it would be here too."""
    code = (
        "import sys; from pipeline.cli import commands as cli\n"
        "try: cli.main(['--help'])\n"
        "finally: print(sorted({'torch', 'pydantic', 'numpy', 'zarr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    for command in ("run", "status", "check", "evaluate", "verify", "report"):
        assert f"  {command} " in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_a_run_tells_where_the_maps_are_and_what_each_stage_cost(terminal):
    done = terminal.call("run")
    assert done.returncode == 0, done.stderr
    assert f"maps:   {terminal.place / 'maps'}" in done.stdout and "report.html" in done.stdout
    assert len(re.findall(r"^\w+: done in [\d.]+ s, peak memory \d+ MB$", done.stdout, re.M)) == 5
    assert "warning: 3 windows dropped" in done.stdout
    again = terminal.call("run")
    assert again.stdout.splitlines()[1].startswith("up to date") and again.returncode == 0


def test_several_mistakes_are_several_blocks_without_a_traceback(terminal):
    done = terminal.call("run", "--set", "tile.size=0", "--set", "train.epochs=x")
    assert done.returncode == 2
    assert [fault["where"].split(": ")[1] for fault in blocks(done.stderr)] == ["tile.size", "train.epochs"]


@pytest.mark.parametrize("words", [["run", "--forse"], ["run", "tiel"], ["walk"], ["run", "--set", "x"]])
def test_wrong_words_end_with_2(words, terminal):
    done = terminal.call(*words)
    assert done.returncode == 2 and len(blocks(done.stderr)) == 1


def test_cfg_06_a_stage_before_its_inputs_ends_with_4(terminal):
    done = terminal.call("run", "tile")
    (fault,) = blocks(done.stderr)
    assert done.returncode == 4 and fault["fix"] == f"pipeline run ingest -c {terminal.file}"


def test_cfg_09_a_dry_run_lists_stages_with_reasons_and_changes_nothing(terminal, idle_proof):
    terminal.call("run", "ingest")
    before = idle_proof(terminal.folder)
    done = terminal.call("run", "--dry-run", "--force", "tile")
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["ingest", "up to date"],
        ["tile", "forced"],
        ["train", "never run"],
        ["infer", "never run"],
        ["mosaic", "never run"],
    ]
    assert terminal.call("status").returncode == 0 and idle_proof(terminal.folder) == before


def test_cfg_10_force_without_a_name_forces_the_named_stages(terminal):
    terminal.call("run")
    done = terminal.call("run", "ingest", "tile", "--force")
    assert "ingest: forced" in done.stdout and "tile: forced" in done.stdout and "train" not in done.stdout


@pytest.mark.parametrize(("failure", "code"), [("disk", 6), ("memory", 6), ("numbers", 7)])
def test_a_fault_of_a_stage_has_its_exit_code_and_stands_in_the_log(failure, code, terminal):
    done = terminal.call("run", "--set", f"tile.fail={failure}")
    (fault,) = blocks(done.stderr)
    last = json.loads((terminal.place / "log.jsonl").read_text().splitlines()[-1])
    assert done.returncode == code == last["code"] and last["event"] == "fault"
    assert {part: last[part] for part in fault} == fault


def test_a_defect_is_told_shortly_and_wholly_in_the_log(terminal):
    done = terminal.call("run", "--set", "tile.fail=defect")
    (fault,) = blocks(done.stderr)
    assert done.returncode == 1 and "ZeroDivisionError" in fault["found"] and "log.jsonl" in fault["fix"]
    assert "_fail_defect" in (terminal.place / "log.jsonl").read_text()
    assert "Traceback" in terminal.call("run", "--set", "tile.fail=defect", "--debug").stderr


def wait_for_steps(terminal: Terminal, count: int) -> None:
    until = time.monotonic() + 30
    while len(list(terminal.place.glob(".partial/tile-*/.progress/*"))) < count:
        assert time.monotonic() < until, "the stage never started"
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_crs_06_07_a_stopped_run_says_how_to_resume_and_does(number, code, terminal):
    slow = ["run", "ingest", "tile", "--set", "tile.steps=40", "--set", "tile.pause=0.1"]
    with terminal.start(*slow) as child:
        wait_for_steps(terminal, 2)
        child.send_signal(number)
        _, told = child.communicate(timeout=20)
    assert child.returncode == code and "resume with: pipeline run" in told and "Traceback" not in told
    kept = len(list(terminal.place.glob(".partial/tile-*/.progress/*")))
    assert 2 <= kept < 40 and not (terminal.place / "tiles").exists()
    assert json.loads((terminal.place / "log.jsonl").read_text().splitlines()[-1])["event"] == "stopped"
    assert terminal.call(*slow).returncode == 0 and (terminal.place / "tiles" / "tiles.json").is_file()


def test_crs_07_a_second_ctrl_c_ends_at_once(terminal):
    with terminal.start("run", "--set", "tile.steps=3", "--set", "tile.pause=8") as child:
        while not list(terminal.place.glob(".partial/tile-*/.progress")):
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        child.wait(timeout=20)
    assert child.returncode == 130 and time.monotonic() - began < 3
    assert (terminal.place / "cube" / CHUNK).read_text() == "cla"


def test_crs_13_a_second_run_ends_with_5_and_names_the_first(terminal):
    with terminal.start("run", "--set", "tile.steps=200", "--set", "tile.pause=0.1") as child:
        wait_for_steps(terminal, 1)
        before = (terminal.place / "log.jsonl").read_text()
        done = terminal.call("run")
        assert done.returncode == 5 and f"process {child.pid} on " in blocks(done.stderr)[0]["found"]
        assert (terminal.place / "log.jsonl").read_text() == before
        child.kill()
        child.wait()
    assert terminal.call("run").returncode == 0  # CRS-14


@pytest.mark.parametrize("round_", range(3))
def test_a_killed_run_heals_to_the_same_bytes(round_, terminal, tmp_path):
    words = ["run", "--set", "tile.steps=5", "--set", "tile.pause=0.02"]
    undisturbed = Terminal(tmp_path / "undisturbed")
    assert undisturbed.call(*words).returncode == 0
    with terminal.start(*words) as child:
        time.sleep(0.25 + 0.2 * round_)
        child.kill()
    assert terminal.call(*words).returncode == 0
    for name in ("cube", "tiles", "checkpoint", "field", "maps"):
        stamps = [
            json.loads((side.place / name / "manifest.json").read_text())["stamp"]
            for side in (terminal, undisturbed)
        ]
        assert stamps[0] == stamps[1]


def limit_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def test_crs_09_a_file_size_limit_ends_with_6_and_keeps_old_results(terminal, idle_proof):
    terminal.call("run")
    before = idle_proof((terminal.place / "tiles").resolve())
    done = terminal.call("run", "--set", "tile.fail=big", preexec_fn=limit_files)
    (fault,) = blocks(done.stderr)
    assert (
        done.returncode == 6 and "free" in fault["found"] and "files are limited to 1.0 MB" in fault["found"]
    )
    assert idle_proof((terminal.place / "tiles").resolve()) == before
    assert terminal.call("run", "--set", "tile.fail=big").returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("this machine does not allow mounting")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_crs_08_a_full_disk_ends_with_6_and_keeps_old_results(terminal, small_disk):
    workspace = ["--workspace", str(small_disk)]
    assert terminal.call("run", *workspace).returncode == 0
    tiles = (small_disk / "runs" / "town" / "tiles" / "tiles.json").read_text()
    done = terminal.call("run", *workspace, "--set", "tile.fail=big")
    (fault,) = blocks(done.stderr)
    assert done.returncode == 6 and str(small_disk) in fault["where"] and "free" in fault["found"]
    assert (small_disk / "runs" / "town" / "tiles" / "tiles.json").read_text() == tiles


def test_crs_12_a_read_only_workspace_ends_with_6_before_any_work(terminal, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = terminal.call("run", "--workspace", str(small_disk))
    (fault,) = blocks(done.stderr)
    assert done.returncode == 6 and str(small_disk) in fault["where"] and "Read-only" in fault["found"]
    assert "ingest" not in done.stdout


def test_evaluate_and_verify_are_commands(terminal):
    done = terminal.call("evaluate")
    assert done.returncode == 0 and "uniform: uniform 2 cla 60water_fill" in done.stdout
    assert "certificate: passed" in terminal.call("verify").stdout
    (terminal.place / "maps" / "heat.tif").write_text("harmed")
    done = terminal.call("verify")
    assert done.returncode == 4 and blocks(done.stderr)[0]["where"] == "maps: heat.tif"


def test_sec_12_paths_may_hold_spaces_quotes_and_any_script(tmp_path):
    terminal = Terminal(tmp_path / "ünï 空 layer's")
    assert terminal.call("run").returncode == 0
    (fault,) = blocks(terminal.call("run", "tile", "--set", "ingest.depth=4").stderr)
    assert fault["fix"].startswith("pipeline run ingest -c '")


def test_the_workspace_lies_beside_the_configs_folder(tmp_path):
    assert default_root(tmp_path / "configs" / "town.yaml") == tmp_path / "workspace"
    assert default_root(tmp_path / "town.yaml") == Path("workspace")


def test_the_default_configuration_is_the_one_of_the_folder_else_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_config() == ROOT / "configs" / "default.yaml"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "default.yaml").write_text("")
    assert default_config() == Path("configs/default.yaml")


def test_the_state_to_go_back_to_is_chosen_on_a_terminal(monkeypatch):
    """An answer that is no state is asked for again; an empty one takes the last."""
    monkeypatch.setattr(loop, "states", lambda runner, chain: ["0/step_50", "0/epoch_010", "1/step_20"])
    for typed, chosen in (("epoch_99\n0/step_50\n", "0/step_50"), ("\n", "1/step_20")):
        keyboard, end = os.openpty()
        os.write(keyboard, typed.encode())
        with os.fdopen(end) as stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            assert chosen_state(ASK, None, []) == chosen
        os.close(keyboard)


def test_off_a_terminal_the_states_are_named_and_a_name_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(loop, "states", lambda runner, chain: ["0/step_50", "0/epoch_010"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("0/step_50\n"))
    with pytest.raises(UsageError, match="--from") as caught:
        chosen_state(ASK, None, [])
    assert "0/step_50, 0/epoch_010" in caught.value.wanted
    assert chosen_state("epoch_010", None, []) == "epoch_010"


def test_text_of_a_file_cannot_steer_the_terminal():
    fault = UsageError("a.yaml", "\x1b[31mred\nfix: rm -r", "plain text", "none")
    assert block([fault]) == "where:  a.yaml\nfound:   [31mred fix: rm -r\nwanted: plain text\nfix:    none"


def test_without_words_the_help_is_shown():
    command = [sys.executable, "-c", "from pipeline.cli.commands import main; main([])"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Commands:" in done.stdout and not done.stderr


@pytest.mark.parametrize(
    ("fix", "completed"),
    [
        (remake("ingest"), "pipeline run ingest --force -c town.yaml"),
        (
            Fix(("run infer --force",), "run again; if it stays, {}"),
            "run again; if it stays, pipeline run infer --force -c town.yaml",
        ),
        (
            Fix(("run a", "run b"), "{}; else {} first"),
            "pipeline run a -c town.yaml; else pipeline run b -c town.yaml first",
        ),
        ("pipeline run tile -c town.yaml", "pipeline run tile -c town.yaml"),
        ("write {x: 1}, set `unit:`", "write {x: 1}, set `unit:`"),
        (Fix(("run",)), "pipeline run -c town.yaml"),
    ],
)
def test_a_command_in_a_fix_names_the_run_it_is_for(fix, completed):
    fault = ArtifactError("cube", "damaged", "whole", fix)
    told = pickle.loads(pickle.dumps(fault)).of_run("-c town.yaml")  # a worker's fault comes pickled
    assert told.fix == completed and told.code == 4 and fault.of_run("").fix == fault.fix
