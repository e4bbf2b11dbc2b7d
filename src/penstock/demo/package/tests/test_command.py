from tally.__main__ import main


def test_sum_adds_amounts(capsys):
    assert main(["sum", "1.20", "3.40"]) == 0
    assert capsys.readouterr().out == "4.60\n"


def test_slug_joins_words(capsys):
    assert main(["slug", "Hello,", "World"]) == 0
    assert capsys.readouterr().out == "hello-world\n"


def test_an_unknown_command_is_a_usage_error(capsys):
    assert main(["fly"]) == 2
    assert "usage" in capsys.readouterr().err
