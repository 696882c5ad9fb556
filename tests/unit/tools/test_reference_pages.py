"""Every key of a configuration and every method stands in the reference, with what it means."""

from model.methods import METHODS
from pipeline.config.load import TABLE
from tools import reference_pages


def test_every_key_of_every_section_has_a_row():
    page = reference_pages.configuration()
    for stage in TABLE:
        section = stage.body().Config
        for model in (section, *reference_pages.parts(section)):
            for name, field in model.model_fields.items():
                assert f"| `{field.alias or name}` |" in page


def test_every_method_and_every_option_of_it_is_told():
    page = reference_pages.methods()
    for name, row in METHODS.items():
        assert f"## {name}\n" in page
        assert all(f"| `{option}` |" in page for option in row.options_class().model_fields)


def test_a_comment_beside_or_above_a_key_is_its_meaning():
    source = 'class A:\n    """Doc."""\n\n    # first of\n    # two\n    one: int = 1\n    two: int = 2  # beside\n'
    assert reference_pages.comments_of(source) == {"one": "first of; two", "two": "beside"}


def test_nothing_that_only_validates_is_shown():
    for page in (reference_pages.configuration(), reference_pages.methods()):
        assert "function" not in page and "Gt(" not in page and "FieldInfo" not in page
