"""What each tool takes. The JSON schema that models see is made of these."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

TEXT_CHARS_MAX = 2_000_000

Path = Annotated[
    str, Meta(description="Relative to the root of the working tree, with forward slashes.", max_length=4_000)
]
Content = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
TestName = Annotated[
    Any,
    Meta(
        description="A test: the runner's own id (`tests/test_a.py::test_b`), a test file, or the list "
        "[runner, path, [names...], row or null].",
        extra_json_schema={"anyOf": [{"type": "string"}, {"type": "array", "items": {}, "minItems": 4, "maxItems": 4}]},
    ),
]


class Arguments(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all: unknown fields are refused."""


class ListFiles(Arguments):
    path: Path = ""


class ReadFile(Arguments):
    path: Path
    first_line: Annotated[int, Meta(ge=1)] = 1
    lines: Annotated[int, Meta(ge=1, le=5_000)] = 2_000


class Search(Arguments):
    pattern: Annotated[str, Meta(description="A regular expression, for single lines.", max_length=1_000)]
    path: Path = ""


class EditFile(Arguments):
    path: Path
    old: Annotated[Content, Meta(description="Text that stands there exactly once, or `all`.", min_length=1)]
    new: Content
    all: bool = False
    test: TestName | None = None


class OneEdit(Arguments):
    path: Path
    old: Annotated[Content, Meta(min_length=1)]
    new: Content
    all: bool = False


class MultiEdit(Arguments):
    edits: Annotated[list[OneEdit], Meta(description="Made in order; all or none.", min_length=1, max_length=200)]
    test: TestName | None = None


class WriteFile(Arguments):
    path: Path
    content: Content
    test: TestName | None = None


class MoveFile(Arguments):
    source: Path
    target: Path
    test: TestName | None = None


class CopyFile(Arguments):
    source: Path
    target: Path
    test: TestName | None = None


class DeleteFile(Arguments):
    path: Path
    test: TestName | None = None


class Shell(Arguments):
    command: Annotated[str, Meta(description="For `sh -c` at the root of the tree.", max_length=100_000)]
    timeout_s: Annotated[int, Meta(ge=1, le=1_800)] = 120


class RunTests(Arguments):
    tests: Annotated[list[TestName], Meta(description="Which tests or test files.", min_length=1, max_length=500)]


class Claim(Arguments):
    test: TestName
    paths: Annotated[list[Path], Meta(description="What will be edited for it.", min_length=1, max_length=50)]


class Step(Arguments):
    text: Annotated[str, Meta(max_length=2_000)]
    test_id: TestName | None = None
    test_file_path: str = ""


class Plan(Arguments):
    steps: Annotated[list[Step], Meta(min_length=1, max_length=100)]


class Nothing(Arguments):
    """No argument."""
