"""The checkpoint on disk: weights as safetensors, everything else as JSON, and never a pickle."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from model.ground.errors import ArtifactError, Fix, InputError
from model.method import Method
from model.methods import METHODS, method_class
from model.methods.choice import RENAMED_OPTIONS
from stages.artifacts.cube import Cube
from stages.formats.atomic import replace_file

FORMAT = 2
OLD_FORMAT = 1  # of version 0.1: options under their old names, beside settings of the training loop
FACTS = "checkpoint.json"
WEIGHTS = "weights.safetensors"
HISTORY, TABLE = "history.jsonl", "history.csv"
REDO = Fix(("run train --force train",), "run `{}`")


def save(name: str, method: Method, facts: Mapping[str, Any], out: Path) -> None:
    """Writes weights.safetensors and checkpoint.json into `out`.

    Args:
      name: the method's short name, a key of METHODS.
      facts: JSON values; must hold what cube_facts() gives.
    """
    arrays, plain = method.state()
    content = format_tensors({key: np.array(arrays[key], order="C") for key in sorted(arrays)})
    replace_file(out / WEIGHTS, content)
    weights = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    record = {"format": FORMAT, "method": name, "weights": weights, "state": plain, "facts": dict(facts)}
    replace_file(out / FACTS, (json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def load(folder: Path, cube: Cube | None = None) -> tuple[Method, dict[str, Any]]:
    """The method as it was saved, and the facts beside it.

    Args:
      cube: when given, the checkpoint must have been trained on the same layers, sectors, factor and unit.
    Raises: ArtifactError when a file is missing, cut or changed, or does not fit the cube.
    """
    record = _read_record(folder / FACTS)
    arrays = _read_weights(folder / WEIGHTS, record["weights"])
    if cube is not None:
        same = ("sectors", "unit") if METHODS[record["method"]].any_factor else ("factor", "sectors", "unit")
        _check_fit(folder / FACTS, record["facts"], cube_facts(cube), same)
    method = method_class(record["method"])(None)
    try:
        method.load_state(arrays, record["state"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{FACTS} of {folder.name}",
            f"weights and description do not belong together ({error})",
            "one state",
            REDO,
        ) from error
    return method, {**record["facts"], "method": record["method"]}


def cube_facts(cube: Cube) -> dict[str, Any]:
    """What a checkpoint depends on, as JSON values."""
    layers = [{"name": layer.name, "kind": layer.kind, "blocky": layer.blocky} for layer in cube.layers]
    return {"layers": layers, "sectors": list(cube.sectors), "factor": cube.factor, "unit": cube.unit}


def write_history(lines: list[dict[str, Any]], out: Path) -> None:
    """One JSON object a validation, and the same as a table; no times, so that equal runs give equal files."""
    write_lines(lines, out / HISTORY, out / TABLE)


def write_lines(lines: list[dict[str, Any]], file: Path, table_file: Path) -> None:
    """One JSON object a line, and the same as a table with a column for each key there is."""
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    replace_file(file, text.encode())
    rows = [_flat(line) for line in lines]
    table = io.StringIO()
    writer = csv.DictWriter(table, sorted(set().union(*rows)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(table_file, table.getvalue().encode())


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """{"scores": {"1.0": 0.5}} -> {"scores.1.0": 0.5}."""
    out: dict[str, Any] = {}
    for key, value in line.items():
        inner = value if isinstance(value, Mapping) else None
        out |= {key: value} if inner is None else {f"{key}.{name}": each for name, each in inner.items()}
    return out


def network_weights(path: str) -> tuple[dict[str, NDArray], str]:
    """Weights of a published network by name, and the SHA-256 of their file; nothing in it is run.

    Raises: InputError (exit 3) when it is missing, damaged, or holds more than numbers.
    """
    import torch

    name = Path(path).name
    try:
        content = Path(path).read_bytes()
        if path.endswith(".safetensors"):
            arrays = parse_tensors(content)
        else:
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            arrays = {str(key): value.float().numpy() for key, value in loaded.items()}
    except FileNotFoundError as error:
        raise InputError(
            name, "no such file", "the file of weights", "correct `train.method.vgg19`"
        ) from error
    except Exception as error:
        told = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            name, f"refused: not weights alone, or damaged ({told})", "a state dictionary of tensors, nothing else",
            "save the plain weights, best as .safetensors",
        ) from error  # fmt: skip
    return arrays, hashlib.sha256(content).hexdigest()


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = {"format": record["format"], "method": record["method"]}
        complete = all(key in record for key in ("weights", "state", "facts"))
    except FileNotFoundError as error:
        raise ArtifactError(FACTS, "missing", "a checkpoint", REDO) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(FACTS, f"not readable ({error})", "a whole checkpoint.json", REDO) from error
    if found["format"] not in (OLD_FORMAT, FORMAT) or found["method"] not in METHODS or not complete:
        said = f"format {found['format']}, method {found['method']!r}"
        raise ArtifactError(FACTS, said, f"format {FORMAT} and one of {', '.join(METHODS)}", REDO)
    return _of_today(record) if found["format"] == OLD_FORMAT else record


def _of_today(record: dict[str, Any]) -> dict[str, Any]:
    """A record of version 0.1 with its options under today's names; those of the training loop are left out."""
    state = record["state"]
    if not isinstance(state, dict) or "options" not in state:
        return record
    known = METHODS[record["method"]].options_class().model_fields
    options = {RENAMED_OPTIONS.get(name, name): value for name, value in state["options"].items()}
    own = {name: value for name, value in options.items() if name in known and value is not None}
    if own.get("content") == "vgg19":
        del own["content"]  # its file was not recorded, and is of no use to a finished generator
    return {**record, "state": {**state, "options": own}}


def _read_weights(path: Path, wanted: Mapping[str, Any]) -> dict[str, NDArray]:
    if not path.exists():
        raise ArtifactError(WEIGHTS, "missing", "the weights beside checkpoint.json", REDO)
    content = path.read_bytes()
    if len(content) != wanted["bytes"]:
        raise ArtifactError(WEIGHTS, f"{len(content)} bytes", f"{wanted['bytes']} bytes", REDO)
    if (digest := hashlib.sha256(content).hexdigest()) != wanted["sha256"]:
        raise ArtifactError(WEIGHTS, f"changed since training: SHA-256 {digest[:16]}...",
                            f"{wanted['sha256'][:16]}...", REDO)  # fmt: skip
    return parse_tensors(content)


def _check_fit(
    path: Path, trained: Mapping[str, Any], given: Mapping[str, Any], keys: tuple[str, ...]
) -> None:
    """Lists every difference between the cube of training and the one at hand."""
    differences = []
    for key in keys:
        if trained.get(key) != given[key]:
            differences.append(f"{key} {trained.get(key)} in training, {given[key]} in the cube")
    old, new = ([title(layer) for layer in side["layers"]] for side in (trained, given))
    differences += [f"layer {name} only in training" for name in old if name not in new]
    differences += [f"layer {name} only in the cube" for name in new if name not in old]
    if not differences and old != new:
        differences.append(f"layers in the order {', '.join(old)} in training, {', '.join(new)} in the cube")
    if differences:
        raise ArtifactError(
            path.name,
            "trained on other data: " + "; ".join(differences),
            "a checkpoint trained on this cube",
            REDO,
        )


def title(layer: Mapping[str, Any]) -> str:
    """A layer in words; JSON does not keep the order of keys."""
    return f"{layer['name']} ({layer['kind']}{', as coarse as a block' if layer['blocky'] else ''})"
