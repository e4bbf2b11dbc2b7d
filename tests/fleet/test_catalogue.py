"""The catalogue: what is added is checked whole, what is written is never lost, what changed is seen."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.fleet.catalogue.catalogue import FILE, Catalogue
from penstock.fleet.catalogue.files import file_name, memory_wanted, metadata_of, model_name
from penstock.fleet.catalogue.model_rules import problems_of, wrong_with_url
from penstock.fleet.catalogue.removing import Removed
from penstock.fleet.orders import Model
from penstock.ports import BadInput, Problem
from tests.fleet.gguf_files import TINY, llama, write_model


@dataclass
class Home:
    """A fleet home, and what was told about it."""

    at: Path
    told: list[str] = field(default_factory=list)

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.at / "home", self.told.append)

    @property
    def file(self) -> Path:
        return self.at / "home" / FILE

    def model(self, name: str = "tiny", **more: int) -> Model:
        return llama(name, write_model(self.at / f"{file_name(name)}"), **more)

    def pulled(self) -> Path:
        """A file where a pull of `tiny` leaves it."""
        place = self.catalogue.file_of("tiny")
        place.parent.mkdir(parents=True)
        return write_model(place)

    def names(self) -> list[str]:
        return [model.name for model in self.catalogue.models()]

    def refused(self, model: Model) -> tuple[Problem, ...]:
        with pytest.raises(BadInput) as caught:
            self.catalogue.add(model)
        return caught.value.problems


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_model_is_added_with_its_size_its_checksum_and_the_memory_it_wants(home: Home) -> None:
    added = home.catalogue.add(home.model(slots=2, context=1_000))
    cache = 2 * 2 * (16 + 16) * 2 * 1_000 * 2
    assert (added.bytes, added.sha256) == (len(TINY), hashlib.sha256(TINY).hexdigest())
    assert added.memory_bytes == -(-len(TINY) * 6 // 5) + cache
    assert home.catalogue.find("tiny") == added
    assert home.catalogue.find("other") is None


def test_memory_that_is_named_is_kept(home: Home) -> None:
    assert home.catalogue.add(home.model(memory_bytes=7)).memory_bytes == 7


def test_without_metadata_memory_is_the_size_and_a_fifth() -> None:
    assert memory_wanted(1_000, None, 4_096, 4) == 1_200


def test_nobody_else_reads_the_catalogue(home: Home) -> None:
    home.catalogue.add(home.model())
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.file.parent.stat().st_mode) == 0o700


def test_models_are_listed_by_name_and_a_relative_path_becomes_whole(home: Home) -> None:
    shown = os.path.relpath(write_model(home.at / "x.gguf"))
    home.catalogue.add(llama("z", shown))
    home.catalogue.add(home.model("a"))
    assert home.names() == ["a", "z"]
    assert home.catalogue.models()[1].path == str(home.at / "x.gguf")


def test_every_problem_is_told_at_once_with_its_field_and_its_fix(home: Home) -> None:
    wrong = Model(
        name="../etc", backend="llama", slots=0, context=0, workers_max=0, memory_bytes=-1, device="tpu", sha256="x"
    )
    problems = home.refused(replace(wrong, url="http://a", key_env="a b"))
    fields = [problem.field for problem in problems]
    assert fields == [
        *("name", "device", "sha256", "key_env"),
        *("slots", "context", "workers_max", "memory_bytes"),
        *("url", "key_env", "path"),
    ]
    assert all(problem.fix for problem in problems)
    assert home.names() == []


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", "../x", "/etc/passwd", "a/../b", "a//b", "a\nb", "a\x1b[31m", "a\0"),
        *("a;b", "a`b`", "a|b", "ä", "x" * 129),
    ],
)
def test_a_name_that_could_be_anything_else_is_refused_and_not_echoed(home: Home, name: str) -> None:
    (problem,) = home.refused(replace(home.model(), name=name))
    assert problem.field == "name"
    assert not name or name not in problem.message


def test_a_name_is_taken_once(home: Home) -> None:
    home.catalogue.add(home.model())
    (problem,) = home.refused(home.model())
    assert (problem.field, problem.fix) == ("name", "first: penstock models remove tiny")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("absent", "cannot be read: No such file"),
        ("dangling", "cannot be read: No such file"),
        ("folder", "is a folder"),
        ("fifo", "is no regular file"),
        ("text", "is no GGUF file"),
        ("cut", "truncated"),
        ("later-00002-of-00002.gguf", "is a later part"),
        ("parts-00001-of-00002.gguf", "1 of 2 parts are missing"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused_with_what_it_is(home: Home, what: str, said: str) -> None:
    path = home.at / what
    match what:
        case "dangling":
            path.symlink_to("nowhere")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "text" | "cut":
            path.write_bytes(b"hello, this is text" if what == "text" else TINY[:-1])
        case "absent":
            pass
        case _:
            write_model(path)
    (problem,) = home.refused(llama("m", path))
    assert said in problem.message and problem.fix and problem.field == "path"


def test_a_checksum_that_was_asked_for_holds(home: Home) -> None:
    (problem,) = home.refused(replace(home.model(), sha256="0" * 64))
    assert problem.field == "sha256"
    digest = hashlib.sha256(TINY).hexdigest()
    assert home.catalogue.add(replace(home.model(), sha256=digest.upper())).sha256 == digest


def test_a_model_in_parts_is_one_model(home: Home) -> None:
    for number in (1, 2):
        write_model(home.at / f"big-0000{number}-of-00002.gguf")
    added = home.catalogue.add(llama("big", home.at / "big-00001-of-00002.gguf"))
    assert (added.bytes, added.sha256) == (2 * len(TINY), hashlib.sha256(TINY * 2).hexdigest())
    write_model(home.at / "big-00002-of-00002.gguf", b"changed")
    (checked,) = home.catalogue.check("big")
    assert checked.problem is not None


def test_a_folder_is_added_whole_each_model_called_after_its_file(home: Home) -> None:
    folder = home.at / "folder"
    folder.mkdir()
    for name in ("Qwen 2.5 (7B).Q4_K_M.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "notes.txt"):
        write_model(folder / name)
    (folder / "linked.gguf").symlink_to("b-00001-of-00002.gguf")
    added = home.catalogue.add_folder(folder, llama("ignored", "", slots=3))
    assert [model.name for model in added] == ["Qwen-2.5-7B-.Q4_K_M", "b", "linked"]
    assert {model.slots for model in added} == {3}


def test_of_a_folder_with_one_bad_file_nothing_is_added(home: Home) -> None:
    folder = home.at / "folder"
    folder.mkdir()
    write_model(folder / "good.gguf")
    (folder / "bad.gguf").write_bytes(b"text")
    (folder / "dangling.gguf").symlink_to("nowhere")
    with pytest.raises(BadInput) as caught:
        home.catalogue.add_folder(folder, llama("ignored", ""))
    assert [str(folder / name) in str(caught.value) for name in ("bad.gguf", "dangling.gguf", "good.gguf")] == [
        True,
        True,
        False,
    ]
    assert home.names() == []


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_models_is_refused(home: Home, there: bool) -> None:
    if there:
        (home.at / "empty").mkdir()
    with pytest.raises(BadInput, match="no .gguf file" if there else "No such file"):
        home.catalogue.add_folder(home.at / "empty", llama("ignored", ""))


def test_removing_forgets_the_model_and_says_what_it_keeps(home: Home) -> None:
    added = home.catalogue.add(home.model())
    removed = home.catalogue.remove("tiny")
    assert removed == Removed("tiny", (Path(added.path),), len(TINY), is_ours=False, are_deleted=False)
    assert Path(added.path).exists() and home.names() == []


def test_a_file_that_was_not_pulled_is_never_deleted(home: Home) -> None:
    added = home.catalogue.add(home.model())
    with pytest.raises(BadInput, match="a file of yours") as caught:
        home.catalogue.remove("tiny", with_file=True)
    assert "--with-file" in caught.value.problems[0].fix
    assert Path(added.path).exists() and home.names() == ["tiny"]


def test_a_file_of_two_models_is_not_deleted_with_one_of_them(home: Home) -> None:
    place = home.pulled()
    home.catalogue.add(llama("tiny", place))
    home.catalogue.add(llama("other", place))
    with pytest.raises(BadInput, match="is that of other too"):
        home.catalogue.remove("tiny", with_file=True)
    home.catalogue.remove("tiny")
    with pytest.raises(BadInput, match="is that of other too"):
        home.catalogue.remove("tiny", with_file=True)
    assert home.catalogue.remove("other", with_file=True).are_deleted
    assert not place.exists()


def test_what_was_pulled_is_deleted_when_asked_by_whatever_way_one_gets_to_the_home(home: Home) -> None:
    place = home.pulled()
    place.with_name(place.name + ".part").write_bytes(b"more")
    (home.at / "alias").symlink_to("home")
    home.catalogue.add(llama("tiny", place))
    removed = Catalogue(home.at / "alias").remove("tiny", with_file=True)
    assert removed.are_deleted and removed.bytes == len(TINY) + 4
    assert [*place.parent.iterdir()] == [] and home.names() == []


def test_what_was_kept_is_deleted_when_asked_later(home: Home) -> None:
    place = home.pulled()
    home.catalogue.add(llama("tiny", place))
    assert home.catalogue.remove("tiny") == Removed("tiny", (place,), len(TINY), is_ours=True)
    assert place.exists()
    assert home.catalogue.remove("tiny", with_file=True).files == (place,)
    assert not place.exists()
    with pytest.raises(BadInput, match="is not in the catalogue"):
        home.catalogue.remove("tiny", with_file=True)


def test_a_lock_whose_file_goes_with_its_holder_still_holds_one_alone(home: Home) -> None:
    inside: list[int] = []

    def take(number: int) -> int:
        most = 0
        for _ in range(150):
            with home.catalogue.locked("pull-x"):
                inside.append(number)
                most = max(most, len(inside))
                os.sched_yield()
                inside.remove(number)
        return most

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(take, range(8))) == {1}
    assert [path.name for path in (home.at / "home").iterdir()] == ["models"]


def test_removing_deletes_a_downloaded_file_when_asked_and_never_what_a_link_leads_to(home: Home) -> None:
    elsewhere = write_model(home.at / "precious.gguf")
    place = home.catalogue.file_of("tiny")
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    home.catalogue.add(llama("tiny", place))
    assert home.catalogue.remove("tiny", with_file=True).files == (place,)
    assert not place.is_symlink() and elsewhere.exists()


def test_removing_what_is_not_there_says_what_is(home: Home) -> None:
    home.catalogue.add(home.model())
    with pytest.raises(BadInput) as caught:
        home.catalogue.remove("other")
    assert caught.value.problems[0].fix == "tiny"


@pytest.mark.parametrize("how", ["same size", "other size", "absent"])
def test_a_file_that_changed_is_seen(home: Home, how: str) -> None:
    added = home.catalogue.add(home.model())
    home.catalogue.add(home.model("whole"))
    path = Path(added.path)
    match how:
        case "same size":
            path.write_bytes(TINY[:-1] + b"\1")
        case "other size":
            write_model(path, b"x")
        case _:
            path.unlink()
    assert {checked.model.name: checked.problem is None for checked in home.catalogue.check()} == {
        "tiny": False,
        "whole": True,
    }


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe\0", b"[]", b'{"version": 1, "models": [{"name": 3}]}'])
def test_a_damaged_catalogue_is_set_aside_whole_and_begun_anew(home: Home, garbage: bytes) -> None:
    home.catalogue.add(home.model())
    for number in (1, 2):
        home.file.write_bytes(garbage)
        assert home.names() == []
        assert home.file.with_name(f"{FILE}.corrupt-{number}").read_bytes() == garbage
        assert f"{FILE}.corrupt-{number}" in home.told[-1]
    home.catalogue.add(home.model())
    assert home.names() == ["tiny"] and len(home.told) == 2


def test_a_damaged_catalogue_is_set_aside_before_it_is_written(home: Home) -> None:
    home.catalogue.add(home.model())
    home.file.write_bytes(b"{")
    home.catalogue.add(home.model("other"))
    assert home.file.with_name(f"{FILE}.corrupt-1").read_bytes() == b"{"
    assert home.names() == ["other"]


def test_a_catalogue_that_a_person_got_wrong_is_left_as_it_is_and_said(home: Home) -> None:
    home.catalogue.add(home.model(slots=2))
    written = home.file.read_bytes().replace(b'"slots": 2', b'"slots": 0')
    home.file.write_bytes(written)
    with pytest.raises(BadInput, match="slots"):
        home.catalogue.models()
    assert home.file.read_bytes() == written


def test_a_catalogue_of_a_newer_penstock_is_left_as_it_is(home: Home) -> None:
    home.catalogue.add(home.model())
    home.file.write_bytes(b'{"version": 2, "models": {}}')
    with pytest.raises(BadInput, match="newer"):
        home.catalogue.add(home.model("other"))
    assert home.file.read_bytes() == b'{"version": 2, "models": {}}'


def _add(at: Path, number: int) -> None:
    home = Home(at)
    for each in range(4):
        home.catalogue.add(home.model(f"m{number}-{each}"))


def test_processes_that_add_at_once_lose_nothing(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    adding = [context.Process(target=_add, args=(home.at, number)) for number in range(3)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    assert [process.exitcode for process in adding] == [0, 0, 0]
    assert home.names() == sorted(f"m{number}-{each}" for number in range(3) for each in range(4))


UPSTREAM = Model(name="u", backend="upstream", url="http://127.0.0.1:8000/v1", key_env="THE_KEY")


def test_an_upstream_model_needs_no_file(home: Home) -> None:
    assert home.catalogue.add(UPSTREAM) == UPSTREAM
    assert [checked.problem for checked in home.catalogue.check()] == [None]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": ""}, "url"),
        ({"argv": ("server", "{port}")}, "url"),
        ({"url": "http://127.0.0.1:8000/v1?key=1"}, "url"),
        ({"url": "ftp://127.0.0.1"}, "url"),
        ({"url": "http://user:secret@127.0.0.1"}, "url"),
        ({"url": "http://:80"}, "url"),
        ({"url": "http://a b"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://a:99999"}, "url"),
        ({"url": "", "argv": ("server",)}, "argv"),
        ({"url": "", "argv": ("",)}, "argv"),
        ({"url": "", "argv": ("server", "{port}", "{secret}")}, "argv"),
        ({"url": "", "argv": ("server", "{port")}, "argv"),
        ({"url": "", "argv": ("server", "{port!r}")}, "argv"),
        ({"url": "", "argv": ("server", "{port.__class__}")}, "argv"),
        ({"url": "", "argv": ("server", "{port}", "a\0b")}, "argv"),
        ({"url": "", "argv": ("server", "{port}", "{path}")}, "path"),
        ({"upstream_model": "a\nb"}, "upstream_model"),
        ({"key_env": "sk-secret-key"}, "key_env"),
        ({"backend": "vllm"}, "backend"),
    ],
)
def test_an_upstream_model_is_sound(change: dict[str, str], field: str) -> None:
    problems = problems_of(replace(UPSTREAM, **change))
    assert field in [problem.field for problem in problems]
    assert "secret" not in "".join(problem.message + problem.fix for problem in problems)


@pytest.mark.parametrize("url", ["https://host/v1", "http://[::1]:1/x", "http://h:80"])
def test_an_address_of_http_is_sound(url: str) -> None:
    assert wrong_with_url(url) is None


@settings(deadline=None)
@given(st.text(max_size=200))
def test_whatever_a_model_is_called_its_file_is_one_plain_name(name: str) -> None:
    placed = file_name(name)
    assert Path("folder", placed).parent == Path("folder") and "\0" not in placed
    assert len((placed + ".part.json").encode()) <= 255


@settings(deadline=None)
@given(st.lists(st.sampled_from("ab/:@+._-%"), min_size=1, max_size=6).map("".join), st.data())
def test_two_models_never_share_a_file(name: str, data: st.DataObject) -> None:
    other = data.draw(st.lists(st.sampled_from("ab/:@+._-%"), min_size=1, max_size=6).map("".join))
    assert (file_name(name) == file_name(other)) == (name == other)


def test_a_model_is_called_after_its_file() -> None:
    assert model_name(Path("/x/tiny.Q8_0.gguf")) == "tiny.Q8_0"
    assert model_name(Path("big-00001-of-00003.gguf")) == "big"


def test_what_a_file_says_can_be_asked_for(home: Home) -> None:
    added = home.catalogue.add(home.model())
    assert home.catalogue.describe(added) == metadata_of(Path(added.path))
    assert home.catalogue.describe(UPSTREAM) is None
    Path(added.path).unlink()
    with pytest.raises(BadInput, match="No such file"):
        home.catalogue.describe(added)
