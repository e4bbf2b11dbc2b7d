from tally import text


def test_a_slug_is_lower_case_and_dashed():
    assert text.slug("Hello, World") == "hello-world"


def test_a_slug_has_no_dash_at_its_ends():
    assert text.slug("  (draft)  ") == "draft"


def test_a_short_text_stays_as_it_is():
    assert text.shorten("one two", 7) == "one two"


def test_a_long_text_ends_in_dots():
    assert text.shorten("one two three four", 12).endswith("...")


def test_no_text_gets_longer_than_its_width():
    for width in range(4, 19):
        assert len(text.shorten("one two three four", width)) <= width


def test_initials_are_in_upper_case():
    assert text.initials("ada king lovelace") == "AKL"
