"""Whatever a file holds, it is read or it is refused as bad input: nothing else comes out."""

import string

from hypothesis import given
from hypothesis import strategies as st

from penstock.documents.document import Unreadable
from penstock.documents.fields import root_of
from penstock.documents.tickets import KnownNames, read_ticket
from penstock.documents.toml import read_toml
from penstock.documents.yaml import read_yaml
from penstock.ports import BadInput
from penstock.settings.reader import read_settings

KEYS = ("agent", "gates", "tests", "command", "env", "timeout_s", "limits", "window_max", "retries", "budget", "when")
SCALARS = st.one_of(
    st.integers(), st.booleans(), st.floats(), st.text(string.printable, max_size=9), st.sampled_from(KEYS)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
        case list():
            return f"[{', '.join(map(as_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{k} = {as_toml(v)}' for k, v in value.items())}}}"
        case _:
            return str(value)


@given(st.binary(max_size=200) | st.text(alphabet="[]{}=.,\"'#\n\\ \tab1", max_size=60).map(str.encode))
def test_any_bytes_are_settings_or_bad_input(data: bytes) -> None:
    try:
        read_settings(data)
    except BadInput as bad:
        assert bad.problems
        assert all(0 <= problem.line <= data.count(b"\n") + 1 for problem in bad.problems)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_shape_of_settings_is_read_or_refused_with_its_line(table: dict[str, object]) -> None:
    text = "\n".join(f"{key} = {as_toml(value)}" for key, value in table.items())
    lines = {key: number for number, key in enumerate(table, start=1)}
    assert {k: read_toml(text, "x").line_of((k,)) for k in table} == lines
    try:
        read_settings(text.encode())
    except BadInput as bad:
        for problem in bad.problems:
            top = problem.field.partition(".")[0].partition("[")[0]
            assert problem.line == lines.get(top, 0)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#\n ?,1~", max_size=60))
def test_any_text_is_yaml_or_unreadable(text: str) -> None:
    try:
        document = read_yaml(text, "x")
    except Unreadable as error:
        assert error.line <= text.count("\n") + 2
    else:
        assert isinstance(document.value, dict)


@given(st.dictionaries(st.sampled_from(("id", "title", "depends_on", "acceptance", "budget", "priority")), VALUES))
def test_any_shape_of_ticket_is_read_or_refused(table: dict[str, object]) -> None:
    text = "\n".join(f"{key}: {as_toml(value).replace(' = ', ': ')}" for key, value in table.items())
    fields = root_of(read_yaml(text, "x"))
    draft = read_ticket(fields, "default", "# heading\n", KnownNames())
    if not fields.reading.problems:
        assert draft.id
        assert draft.text.ticket.title
