"""Runs shipped configurations and tells the SHA-256 of every map, or compares two such lists.

Why: a change that moves code about must leave the bytes of every map as they were.

  python tools/map_hashes.py run -o after.json --workspace /tmp/after       (about half an hour on two cores)
  python tools/map_hashes.py compare before.json after.json
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

# A configuration, and overrides where its full training takes hours: a few steps go through the same code.
SHORT = ("train.epochs=1", "train.steps_per_epoch=2", "train.batch_tiles=1", "tile.size=60")
SRGAN = (  # the options that configs/precipitation_monthly.yaml compares srgan with
    "{name: srgan, width: 32, residual_blocks: 4, adversarial_epochs: 4, adversarial_weight: 0.01, "
    "content_weight: 0.02}"
)
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vienna_city": ("default", ()),
    "vienna_footprint": ("vienna_footprint", ()),
    "neiba": ("neiba", ()),
    "oslo": ("oslo", ()),
    "burundi": ("burundi", ()),
    "uk": ("uk", ()),
    "krems": ("krems", ()),
    "malta": ("malta", ()),
    "precipitation_monthly": ("precipitation_monthly", ()),
    "precipitation_monthly_srgan": ("precipitation_monthly", (f"train.method={SRGAN}",)),
    "precipitation_hourly": ("precipitation_hourly", ("train.epochs=2",)),
    "v1_7": ("dst_carbon_former_v1_7", SHORT),
    "v3_0": ("dst_carbon_former_v3_0", SHORT),
    "vienna_region": ("vienna_region", ()),
}
BASELINES = (
    "smooth_mask", "single_proxy", "uniform", "bilinear", "pycnophylactic", "proxy_product", "additive_nnls",
    "additive_poisson", "exposure", "random_forest", "gradient_boosting",
)  # fmt: skip
RUNS |= {f"city_{method}": ("default", (f"train.method={method}",)) for method in BASELINES}
MAPS = (".tif", ".nc", ".safetensors")


def hashes(folder: Path) -> dict[str, str]:
    """Of the maps and weights of one finished run, by path."""
    published = [folder / name for name in ("maps", "checkpoint")]
    found = {path: part for part in published for path in part.resolve().rglob("*") if path.suffix in MAPS}
    return {
        f"{part.name}/{path.relative_to(part.resolve())}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path, part in sorted(found.items())
    }


def run(code: Path, workspace: Path, output: Path, names: list[str], entry: str) -> None:
    """Runs each configuration with one thread; what is already finished there is not made again."""
    told: dict[str, dict[str, str]] = json.loads(output.read_text()) if output.exists() else {}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)}
    call = [sys.executable, "-c", f"from {entry} import main; main()", "run"]
    for name in names or RUNS:
        config, overrides = RUNS[name]
        options = [word for override in (*overrides, f"name={name}") for word in ("--set", override)]
        began = time.monotonic()
        words = [*call, "-c", f"configs/{config}.yaml", "--workspace", str(workspace), *options]
        done = subprocess.run(words, cwd=code, env=environment, capture_output=True, text=True)
        state = "ok" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr[-600:]}"
        print(f"{name}: {time.monotonic() - began:.0f} s, {state}", flush=True)
        told[name] = hashes(workspace / "runs" / name) if done.returncode == 0 else {}
        output.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


def compare(before: Path, after: Path) -> int:
    """Prints every difference of maps and weights; 1 when a map differs or is missing."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    differ = 0
    for name in sorted(old.keys() & new.keys()):
        for file in sorted(old[name].keys() | new[name].keys()):
            if old[name].get(file) != new[name].get(file):
                differ += 1
                print(f"{name}: {file} differs" if file in new[name] else f"{name}: {file} is missing")
    files = sum(len(old[name]) for name in old.keys() & new.keys())
    print(f"{files} files of {len(old.keys() & new.keys())} runs compared, {differ} differ")
    return 1 if differ else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    runs = parts.add_parser("run")
    runs.add_argument("names", nargs="*", help=f"of {', '.join(RUNS)}; none: all")
    runs.add_argument("-o", "--output", type=Path, required=True)
    runs.add_argument("--workspace", type=Path, required=True)
    runs.add_argument("--code", type=Path, default=Path(__file__).resolve().parents[1], help="a checkout")
    runs.add_argument("--entry", default="pipeline.cli.commands", help="module of the command line in it")
    pair = parts.add_parser("compare")
    pair.add_argument("before", type=Path)
    pair.add_argument("after", type=Path)
    asked = parser.parse_args()
    if asked.part == "compare":
        return compare(asked.before, asked.after)
    run(asked.code, asked.workspace, asked.output, asked.names, asked.entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
