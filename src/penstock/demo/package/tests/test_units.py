import pytest

from tally import units


@pytest.mark.parametrize(("text", "count"), [("1h30m", 5400), ("45s", 45), ("2m5s", 125)])
def test_a_duration_is_read_as_seconds(text, count):
    assert units.seconds(text) == count


def test_a_bare_number_is_seconds():
    assert units.seconds("90") == 90


@pytest.mark.parametrize("text", ["", "h", "1h 30m", "-5s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="no duration"):
        units.seconds(text)


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="unknown unit"):
        units.seconds("3y")


def test_a_duration_is_shown_by_its_units():
    assert units.human(5405) == "1h 30m 5s"


def test_no_time_at_all_is_shown():
    assert units.human(0) == "0s"


def test_a_long_duration_is_shown_in_hours():
    assert units.human(90_000) == "25h"
