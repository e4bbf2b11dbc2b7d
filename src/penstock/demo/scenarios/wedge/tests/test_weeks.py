from tally import units


def test_a_week_is_read():
    assert units.seconds("1w") == 604_800
