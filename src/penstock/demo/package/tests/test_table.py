from tally import table


def test_columns_are_as_wide_as_their_widest_cell():
    assert table.render([["a", "b"], ["long", "c"]]) == "a     b\nlong  c"


def test_a_table_of_nothing_is_empty():
    assert table.render([]) == ""


def test_no_line_ends_in_blanks():
    assert table.render([["a", "long"], ["b", "c"]]).splitlines()[1] == "b  c"
