"""YAML is read strictly."""

import math
from pathlib import Path

import pytest

from model.ground.errors import UsageError
from pipeline.config.yaml_source import parse, read


def test_cfg_02_a_key_given_twice_names_both_lines():
    (fault,) = parse("train:\n  lr: 1\n  other: 2\n  lr: 3\n", "a.yaml").faults
    assert "line 2" in fault.found and "line 4" in fault.found and "`lr`" in fault.found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 0.0001),
        ("1E5", 100000.0),
        ("+.5", 0.5),
        ("12", 12),
        ("0", 0),
        ("-7", -7),
        ("true", True),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("NO", "NO"),
        ("1:30", "1:30"),
        ("2019-01-01", "2019-01-01"),
        ("'5'", "5"),
        ("e5", "e5"),
        ("1_000", "1_000"),
    ],
)
def test_cfg_03_a_scalar_is_what_a_reader_expects(text, value):
    read_value = parse(f"x: {text}", "a.yaml").data["x"]
    assert read_value == value and type(read_value) is type(value)


def test_infinity_is_a_number():
    assert math.isinf(parse("x: .inf", "a.yaml").data["x"])


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!mine", "!!set"]
)
def test_sec_08_a_tag_is_refused_and_never_followed(tag, tmp_path):
    canary = tmp_path / "canary"
    document = parse(f"x:\n  y: {tag} ['touch {canary}']\n", "a.yaml")
    assert [fault.code for fault in document.faults] == [2]
    assert "line 2" in document.faults[0].where
    assert not canary.exists()


def test_every_key_and_item_knows_its_line():
    places = parse("a:\n  b:\n    - 1\n    - c: 2\n", "a.yaml").places
    assert [places[path].line for path in (("a",), ("a", "b"), ("a", "b", 1), ("a", "b", 1, "c"))] == [
        1,
        2,
        4,
        4,
    ]


@pytest.mark.parametrize("text", ["a: [1", "a:\n\tb: 1", "a: 1\n---\nb: 2", "[" * 5000, "a: b: c"])
def test_text_that_is_not_yaml_is_refused_with_its_place(text):
    with pytest.raises(UsageError) as caught:
        parse(text, "a.yaml")
    assert caught.value.where.startswith("a.yaml")


def test_aliases_cannot_multiply():
    text = "a: &a [1, 1]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    assert len(parse(text, "a.yaml").faults) == 12


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(UsageError, match=r"not UTF-8"):
        read(path, "a.yaml")
    with pytest.raises(UsageError, match=r"No such file"):
        read(tmp_path / "none.yaml", "none.yaml")
