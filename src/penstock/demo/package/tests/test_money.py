import pytest

from tally import money


@pytest.mark.parametrize(("text", "cents"), [("12.50", 1250), ("12", 1200), (" 0.07 ", 7)])
def test_an_amount_is_read_as_cents(text, cents):
    assert money.parse(text) == cents


@pytest.mark.parametrize("text", ["", "x", "1.5", "1.", "1.234", "1,50"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="no amount"):
        money.parse(text)


def test_an_amount_is_shown_with_two_decimals():
    assert money.show(1250) == "12.50"
    assert money.show(7) == "0.07"


def test_a_total_adds_up():
    assert money.total([120, 340]) == 460


def test_the_total_of_nothing_is_zero():
    assert money.total([]) == 0
