"""Steps of time by the digits of their dates."""

import numpy as np
import pytest

from model.ground import time_steps as when


@pytest.mark.parametrize(
    ("text", "label", "seconds"),
    [
        ("1999", 1999, 365 * 86400),
        ("1999-02", 199902, 28 * 86400),
        ("2000-02-29", 20000229, 86400),
        ("2018-09-14T22", 2018091422, 3600),
        ("2018-09-14T22:30", 201809142230, 60),
    ],
)
def test_how_a_date_is_written_says_how_long_its_step_is(text, label, seconds):
    assert when.parse(text) == label
    assert when.spelled(label) == text
    assert when.seconds(label) == seconds


@pytest.mark.parametrize("text", ["1999-13", "1999-02-30", "99-01", "soon", "1999-1"])
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError):
        when.parse(text)


def test_hours_run_over_midnight():
    assert when.steps(2018091422, 2018091501) == (2018091422, 2018091423, 2018091500, 2018091501)


def test_a_span_needs_steps_of_one_length():
    with pytest.raises(ValueError, match="no span of equal steps"):
        when.steps(1999, 199901)


def test_an_instant_lies_in_one_step_of_each_length():
    instant = np.datetime64("2018-09-14T22:30")
    assert [when.label_of(instant, unit) for unit in "YMDh"] == [2018, 201809, 20180914, 2018091422]
