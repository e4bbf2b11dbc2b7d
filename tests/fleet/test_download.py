"""A model is brought here whole, from a server that does everything a server can do wrong."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.catalogue.downloads import DownloadPolicy, Progress, Pulled, PullFailed, Wanted, pull
from penstock.fleet.orders import Model
from penstock.ports import BadInput
from tests.fleet.gguf_files import TINY
from tests.fleet.model_server import Shelf, Turn, serving

DATA = TINY + os.urandom(2_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = TINY + os.urandom(2_000_000)
HALF = 1_300_000
QUICK = DownloadPolicy(backoff_base_ms=1, stall_ms_max=200, told_ms=0)


@dataclass
class Pull:
    """A fleet home, and a server."""

    home: Path
    shelf: Shelf
    told: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.home, self.told.append)

    @property
    def part(self) -> Path:
        return self.home / "models" / "tiny.gguf.part"

    @property
    def target(self) -> Path:
        return self.home / "models" / "tiny.gguf"

    def pull(
        self,
        sha256: str = "",
        policy: DownloadPolicy = QUICK,
        progress: Progress | None = None,
        token: str = "",
        url: str = "",
        drop_partial: bool = False,
    ) -> Pulled:
        model = Model(name="tiny", backend="llama", sha256=sha256)
        wanted = Wanted(model, url or self.shelf.url, token, drop_partial)
        return pull(self.catalogue, wanted, progress, policy, self.waits.append)

    def fails(self, policy: DownloadPolicy = QUICK, sha256: str = "", drop_partial: bool = False) -> PullFailed:
        with pytest.raises(PullFailed) as caught:
            self.pull(sha256, policy, drop_partial=drop_partial)
        assert caught.value.problem.fix
        assert not self.target.exists() and self.catalogue.find("tiny") is None
        return caught.value

    def is_clean(self) -> bool:
        no_lock = not [*self.home.glob(".pull-*")]
        return no_lock and [path.name for path in self.target.parent.iterdir()] == ["tiny.gguf"]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Pull]:
    with serving(Shelf(DATA)) as shelf:
        yield Pull(tmp_path / "home", shelf)


def test_a_model_is_downloaded_and_added(at: Pull) -> None:
    heard: list[tuple[int, int, int]] = []
    pulled = at.pull(DIGEST, progress=lambda *told: heard.append(told))
    assert (pulled.already, pulled.model.sha256, pulled.model.bytes) == (False, DIGEST, len(DATA))
    assert at.catalogue.find("tiny") == pulled.model
    assert at.target.read_bytes() == DATA and at.is_clean()
    assert heard[-1][:2] == (len(DATA), len(DATA)) and heard[-1][2] > 0
    assert heard == sorted(heard, key=lambda told: told[0])


def test_a_download_that_is_cut_goes_on_where_it_was(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF), Turn(bytes_max=1_000)]
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.ranges == ["", f"bytes={HALF}-", f"bytes={HALF + 1_000}-"]
    assert {headers.get("if-range") for headers in at.shelf.asked[1:]} == {'"one"'}
    assert at.waits == [0.001, 0.002]


def test_a_download_goes_on_in_another_run(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF)]
    failed = at.fails(replace(QUICK, tries_max=1))
    assert failed.code == "DOWNLOAD_FAILED" and f"{HALF:,} bytes are kept" in failed.problem.message
    assert at.part.stat().st_size == HALF
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.ranges == ["", f"bytes={HALF}-"]


def test_a_file_that_changed_meanwhile_is_begun_anew(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF, data=OTHER, etag='"zero"')]
    assert at.pull().model.sha256 == DIGEST
    assert at.target.read_bytes() == DATA


def test_a_part_of_a_changed_file_is_not_put_to_the_other_half(at: Pull) -> None:
    """The server ignores If-Range, as some do, and gives the rest of the new file."""
    at.shelf.turns = [Turn(bytes_max=HALF, data=OTHER, etag='"zero"'), Turn(etag='"zero"', headers={"etag": '"one"'})]
    assert at.pull().model.sha256 == DIGEST


@pytest.mark.parametrize("placed", ["bytes 0-9/10", "bytes 7-2/x", f"bytes {HALF}-{len(DATA)}/{len(DATA) + 1}"])
def test_a_part_that_was_not_asked_for_is_not_taken(at: Pull, placed: str) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF), Turn(content_range=placed)]
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.ranges == ["", f"bytes={HALF}-", ""]


def test_a_server_without_ranges_is_asked_for_all_of_it(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF), Turn(ignores_range=True)]
    assert at.pull().model.sha256 == DIGEST


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_it_is_begun_anew(at: Pull, etag: str) -> None:
    at.shelf.etag = etag
    at.shelf.turns = [Turn(bytes_max=HALF)]
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.ranges == ["", ""]


def test_the_date_of_the_file_is_a_validator_too(at: Pull) -> None:
    date = "Fri, 27 Nov 2026 10:00:00 GMT"
    at.shelf.etag = ""
    at.shelf.turns = [Turn(bytes_max=HALF, headers={"last-modified": date})]
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.asked[1]["if-range"] == date


def test_the_part_of_another_address_is_not_gone_on_from(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF)]
    at.fails(replace(QUICK, tries_max=1))
    assert at.pull(url=at.shelf.url + "?other").model.sha256 == DIGEST
    assert at.shelf.ranges == ["", ""]


def test_a_server_that_does_not_say_how_long_is_heard_to_the_end(at: Pull) -> None:
    at.shelf.turns = [Turn(is_chunked=True)]
    heard: list[int] = []
    assert at.pull(progress=lambda _, total, __: heard.append(total)).model.sha256 == DIGEST
    assert set(heard) == {0}


def test_silence_is_noticed_and_tried_again(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF, stalls=True)]
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.ranges == ["", f"bytes={HALF}-"]


def test_a_server_that_stalls_for_ever_is_given_up(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=1, stalls=True)] * 2
    failed = at.fails(replace(QUICK, tries_max=2))
    assert failed.code == "DOWNLOAD_TIMEOUT" and "no byte came for 0.2 s, 2 times" in failed.problem.message


def test_after_six_tries_it_is_given_up_and_waited_longer_each_time(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=10)] * 9
    assert at.fails(replace(QUICK, backoff_ms_max=8)).code == "DOWNLOAD_FAILED"
    assert len(at.shelf.asked) == 6
    assert at.waits == [0.001, 0.002, 0.004, 0.008, 0.008]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "NOT_FOUND", "is not there"),
        (410, "NOT_FOUND", "is not there"),
        (401, "FORBIDDEN", "may not be fetched"),
        (403, "FORBIDDEN", "may not be fetched"),
        (418, "DOWNLOAD_FAILED", "status 418"),
        (304, "DOWNLOAD_FAILED", "status 304"),
    ],
)
def test_what_no_second_try_can_mend_is_said_at_once(at: Pull, status: int, code: str, said: str) -> None:
    at.shelf.turns = [Turn(status=status)]
    failed = at.fails()
    assert (failed.code, len(at.shelf.asked)) == (code, 1)
    assert said in failed.problem.message


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_in_trouble_is_tried_again_when_it_says(at: Pull, status: int) -> None:
    at.shelf.turns = [Turn(status=status, headers={"retry-after": "7"})]
    assert at.pull().model.sha256 == DIGEST
    assert at.waits == [7.0]


def test_nobody_there_is_given_up(at: Pull) -> None:
    with pytest.raises(PullFailed) as caught:
        at.pull(url="http://127.0.0.1:9/tiny.gguf")
    assert caught.value.code == "DOWNLOAD_FAILED" and len(at.waits) == 5


def test_a_redirect_is_followed_and_the_token_stays_with_its_host(at: Pull) -> None:
    with serving(Shelf(DATA)) as store:
        elsewhere = store.url.replace("127.0.0.1", "localhost")
        at.shelf.turns = [Turn(status=302, headers={"location": elsewhere})]
        assert at.pull(token="hush").model.sha256 == DIGEST
        assert at.shelf.asked[0]["authorization"] == "Bearer hush"
        assert "authorization" not in store.asked[0]


def test_redirects_that_never_end_are_given_up(at: Pull) -> None:
    at.shelf.turns = [Turn(status=302, headers={"location": at.shelf.url})] * 99
    assert at.fails(replace(QUICK, tries_max=1)).code == "DOWNLOAD_FAILED"


def test_a_wrong_checksum_is_fetched_once_more(at: Pull) -> None:
    at.shelf.turns = [Turn(data=OTHER)]
    assert at.pull(DIGEST.upper()).model.sha256 == DIGEST


def test_a_checksum_that_stays_wrong_deletes_and_fails(at: Pull) -> None:
    failed = at.fails(sha256="0" * 64)
    assert failed.code == "CHECKSUM_MISMATCH" and len(at.shelf.asked) == 2
    assert list(at.target.parent.iterdir()) == []


def test_a_page_about_the_model_is_no_model(at: Pull) -> None:
    at.shelf.data = b"<!DOCTYPE html>" * 100
    failed = at.fails()
    assert "is no GGUF file, and was deleted" in failed.problem.message
    assert list(at.target.parent.iterdir()) == []


def test_a_disk_that_is_too_small_is_seen_before(at: Pull) -> None:
    failed = at.fails(replace(QUICK, spare_bytes=2**60))
    assert failed.code == "DISK_FULL" and "still to come" in failed.problem.message
    assert not at.part.exists()


LIMITED = """
import resource, sys
from pathlib import Path
from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.catalogue.downloads import PullFailed, Wanted, pull
from penstock.fleet.orders import Model

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    wanted = Wanted(Model(name="tiny", backend="llama"), sys.argv[2], drop_partial=sys.argv[3] == "drop")
    pull(Catalogue(Path(sys.argv[1])), wanted)
except PullFailed as failed:
    print(failed.code, failed.problem.message)
"""


@pytest.mark.parametrize("how", ["keep", "drop"])
def test_a_disk_that_gets_full_is_said_and_what_came_is_kept_unless_it_was_told_otherwise(at: Pull, how: str) -> None:
    """A real limit of the kernel, in place of a full disk: the file may grow no further."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    words = [sys.executable, "-c", LIMITED, str(at.home), at.shelf.url, how]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.startswith("DISK_FULL the disk was full after 1,000,000 bytes")
    assert at.part.exists() == (how == "keep") == ("are kept in tiny.gguf.part" in said)
    assert at.pull().model.sha256 == DIGEST
    assert at.shelf.ranges == ["", "bytes=1000000-" if how == "keep" else ""]


def test_a_link_in_the_place_of_the_part_is_not_followed(at: Pull) -> None:
    precious = at.home.parent / "precious"
    precious.write_bytes(b"precious")
    at.part.parent.mkdir(parents=True)
    at.part.symlink_to(precious)
    assert at.pull().model.sha256 == DIGEST
    assert precious.read_bytes() == b"precious" and not at.target.is_symlink()


def test_pulls_of_one_name_at_once_are_one_download(at: Pull) -> None:
    at.shelf.gate.clear()
    pulled: list[Pulled] = []
    pulling = [threading.Thread(target=lambda: pulled.append(at.pull())) for _ in range(3)]
    for thread in pulling:
        thread.start()
    assert at.shelf.entered.wait(10)
    at.shelf.gate.set()
    for thread in pulling:
        thread.join()
    assert sorted(each.already for each in pulled) == [False, True, True]
    assert len(at.shelf.asked) == 1 and {each.model.sha256 for each in pulled} == {DIGEST}


def test_what_is_here_is_not_fetched_again(at: Pull) -> None:
    at.pull()
    assert at.pull(DIGEST).already
    assert len(at.shelf.asked) == 1
    with pytest.raises(BadInput, match="is another"):
        at.pull("0" * 64)


def test_a_model_whose_file_was_lost_is_fetched_again(at: Pull) -> None:
    at.pull()
    at.target.unlink()
    assert not at.pull().already
    assert len(at.shelf.asked) == 2


def test_a_run_that_ended_before_the_model_was_added_is_finished(at: Pull) -> None:
    at.shelf.turns = [Turn(bytes_max=HALF)]
    at.fails(replace(QUICK, tries_max=1))
    at.part.write_bytes(DATA)
    at.part.rename(at.target)
    assert at.pull().model.sha256 == DIGEST
    assert len(at.shelf.asked) == 1 and at.is_clean()


def test_a_file_of_the_same_name_that_nobody_pulled_is_not_taken_for_it(at: Pull) -> None:
    at.target.parent.mkdir(parents=True)
    at.target.write_bytes(OTHER)
    assert at.pull().model.sha256 == DIGEST


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://user:pw@h/x", "not a url", "http://"])
def test_an_address_that_is_none_is_refused(at: Pull, url: str) -> None:
    with pytest.raises(BadInput) as caught:
        at.pull(url=url)
    assert caught.value.problems[0].field == "url" and "pw" not in str(caught.value)
