"""Imports run pipeline -> stages -> model, never back; torch and the file formats have their doors."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipeline", "stages", "model")
FORBIDDEN = {"pipeline": (), "stages": ("pipeline",), "model": ("pipeline", "stages")}
FORMATS = {
    "rasterio",
    "zarr",
    "xarray",
    "rioxarray",
    "h5netcdf",
    "h5py",
    "osgeo",
    "safetensors",
    "pyogrio",
    "shapely",
}
DOORS = ("stages/formats/", "stages/artifacts/", "stages/regrid/")  # rooms that may open files
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAY_LOAD_TORCH = (
    "model/layers/",
    "model/methods/",
    "model/training/",
    "model/conservation/solver_torch.py",
    "model/conservation/torch_layer.py",
)


def imports(path: Path, *, at_import_time: bool = False) -> Iterator[tuple[str, int]]:
    """Dotted names a file imports, with lines; all of them, or those outside functions."""
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{name.name}", node.lineno) for name in node.names)
        todo.extend(ast.iter_child_nodes(node))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_run_one_way(path):
    for name, line in imports(path):
        top = name.split(".")[0]
        assert top not in FORBIDDEN[named(path).split("/")[0]], f"{named(path)}, line {line}: imports {name}"
        assert top != "None", f"{named(path)}, line {line}: a relative import"


@pytest.mark.parametrize("path", sorted((ROOT / "stages").rglob("*.py")), ids=named)
def test_no_stage_imports_a_stage(path):
    from stages import EVALUATE, STAGES

    room = named(path).split("/")[1]
    bodies = {f"stages.{stage.name}" for stage in (*STAGES, EVALUATE)} - {f"stages.{room}"}
    for name, line in imports(path):
        hit = [body for body in bodies if name == body or name.startswith(body + ".")]
        assert not hit, f"{named(path)}, line {line}: imports {name}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if not named(path).startswith(MAY_LOAD_TORCH)], ids=named
)
def test_torch_is_imported_only_where_something_learns(path):
    for name, line in imports(path, at_import_time=True):
        assert name.split(".")[0] != "torch", f"{named(path)}, line {line}"


@pytest.mark.parametrize("path", [path for path in FILES if not named(path).startswith(DOORS)], ids=named)
def test_file_formats_live_in_the_store(path):
    for name, line in imports(path):
        assert name.split(".")[0] not in FORMATS, f"{named(path)}, line {line}: imports {name}"


def test_importing_every_stage_and_the_pipeline_loads_no_torch():
    modules = [named(path)[:-3].replace("/", ".") for path in FILES if not named(path).startswith("model/")]
    code = "import sys\nfrom importlib import import_module\n" + (
        f"for name in {modules!r}: import_module(name)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_file_opens_with_its_duty(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring and docstring.splitlines()[0].endswith(".")
