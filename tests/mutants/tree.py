"""Defects in how the working tree is seen, kept and put back."""

from __future__ import annotations

from tests.mutants.defect import Planted

SCANNER = "tests/integration/test_tree_scanner.py::"
WRITER = "tests/integration/test_tree_writer.py::"
CRASH = "tests/integration/test_tree_crash.py::"
QUARANTINE = "tests/integration/test_tree_quarantine.py::"
READING = "tests/integration/test_tree_reading.py::"

LOOKING_FILE = "kernel/tree/looking.py"
SCANNER_FILE = "kernel/tree/scanner.py"
WRITER_FILE = "kernel/tree/writer.py"

PLANTED = (
    Planted(
        "tree-ctime",
        "an edit that sets the time back is not seen",
        LOOKING_FILE,
        '"st_size", "st_mtime_ns", "st_ctime_ns", "st_mode"',
        '"st_size", "st_mtime_ns", "st_mtime_ns", "st_mode"',
        (f"{SCANNER}test_an_edit_that_sets_the_time_back_is_seen",),
    ),
    Planted(
        "tree-racy",
        "what changed just now is trusted",
        SCANNER_FILE,
        "return changed_ns > read_ns - distrust_ns",
        "return False",
        (
            f"{SCANNER}test_what_changed_just_now_is_not_trusted",
            f"{SCANNER}test_whole_seconds_are_trusted_later",
        ),
    ),
    Planted(
        "tree-whole-seconds",
        "whole seconds are trusted as soon as nanoseconds",
        SCANNER_FILE,
        "DISTRUST_NS if stamp[4] % SECOND_NS else WHOLE_SECONDS_DISTRUST_NS",
        "DISTRUST_NS",
        (f"{SCANNER}test_whole_seconds_are_trusted_later",),
    ),
    Planted(
        "tree-afresh",
        "a scan afresh believes the times",
        SCANNER_FILE,
        "        if afresh:\n",
        "        if False:\n",
        (f"{SCANNER}test_what_stands_still_is_read_once",),
    ),
    Planted(
        "tree-still",
        "a file that changes while it is read counts as read",
        LOOKING_FILE,
        "if stamp_of(os.fstat(file)) != stamp_of(before):",
        "if False:",
        (f"{SCANNER}test_a_file_that_does_not_stop_changing_is_unreadable",),
    ),
    Planted(
        "tree-unreadable",
        "a file that may not be read is gone",
        LOOKING_FILE,
        "        except OSError as error:\n            return Unreadable(",
        "        except OSError as error:\n            return None if error.errno else Unreadable(",
        (f"{SCANNER}test_what_may_not_be_read_is_unreadable_and_never_deleted",),
    ),
    Planted(
        "tree-unreadable-above",
        "what is below an unreadable directory is deleted",
        "kernel/tree/entry.py",
        "after or _above(path, unreadable)",
        "after",
        (f"{SCANNER}test_what_may_not_be_read_is_unreadable_and_never_deleted",),
    ),
    Planted(
        "tree-huge",
        "a file of a terabyte is read",
        LOOKING_FILE,
        "if status.st_size > hashed_bytes_max:",
        "if False:",
        (f"{READING}test_what_is_no_text_is_refused_by_name",),
    ),
    Planted(
        "tree-aside-hidden",
        "files under the writer's own names are passed over in silence",
        SCANNER_FILE,
        "            self._problems.append(LeftAside(path=path))\n",
        "",
        (f"{SCANNER}test_files_left_aside_are_named_and_forged_directories_seen",),
    ),
    Planted(
        "tree-follow",
        "directories are entered through links",
        LOOKING_FILE,
        "DIRECTORY = TOP | os.O_NOFOLLOW",
        "DIRECTORY = TOP",
        (f"{WRITER}test_nothing_is_written_through_a_link",),
    ),
    Planted(
        "tree-git",
        "names that some file system takes for git's are written",
        "kernel/tree/names.py",
        'return bare in (".git", "git~1")',
        'return part == ".git"',
        (f"{WRITER}test_paths_that_lead_elsewhere_are_refused",),
    ),
    Planted(
        "tree-dots",
        "paths lead out of the tree",
        "kernel/tree/names.py",
        'if name in ("", ".", ".."):',
        'if name == "":',
        (f"{WRITER}test_paths_that_lead_elsewhere_are_refused",),
    ),
    Planted(
        "tree-spelling",
        "a file has more names than one",
        "kernel/tree/names.py",
        'is_spelled_so = "/" not in name and spelled(name) == part',
        "is_spelled_so = bool(spelled(name))",
        (f"{WRITER}test_paths_that_lead_elsewhere_are_refused",),
    ),
    Planted(
        "tree-no-text",
        "a name that is no UTF-8 cannot be written into a ledger",
        "kernel/tree/names.py",
        'if is_text and "\\\\x" not in name:',
        "if True:",
        (f"{SCANNER}test_any_name_is_a_name",),
    ),
    Planted(
        "tree-expected",
        "an edit made since is overwritten",
        WRITER_FILE,
        "if (found and found.entry) != expected:",
        "if False:",
        (f"{WRITER}test_a_batch_is_restored_in_part",),
    ),
    Planted(
        "tree-overwrite-unreadable",
        "what may not be read is taken away",
        WRITER_FILE,
        '    if isinstance(found, Unreadable):\n        raise _Refused("unreadable", found.why)\n',
        "    if isinstance(found, Unreadable):\n        return\n",
        (f"{WRITER}test_what_may_not_be_read_is_left_alone",),
    ),
    Planted(
        "tree-in-place",
        "the new content is written under the file's own name",
        WRITER_FILE,
        "            aside = new_aside()\n",
        "            aside = parts[-1]\n"
        "            with suppress(OSError):\n"
        "                os.unlink(aside, dir_fd=directory)\n",
        (f"{CRASH}test_killed_at_any_step_it_leaves_old_or_new_and_is_begun_again",),
    ),
    Planted(
        "tree-litter",
        "a write that failed leaves its file aside",
        WRITER_FILE,
        "                    os.unlink(aside, dir_fd=directory)\n                raise",
        "                    pass\n                raise",
        (f"{WRITER}test_directories_make_way_only_when_they_hold_nothing",),
    ),
    Planted(
        "tree-made-directories",
        "a refused write leaves the directories that it made",
        WRITER_FILE,
        "for place in reversed(made):",
        "for place in ():",
        (f"{WRITER}test_a_link_that_cannot_be_is_refused",),
    ),
    Planted(
        "tree-hollow",
        "directories with files in them are cleared away",
        WRITER_FILE,
        "    if not _is_hollow(above, name):\n",
        "    if False:\n",
        (f"{WRITER}test_directories_make_way_only_when_they_hold_nothing",),
    ),
    Planted(
        "tree-sweep",
        "what a crash left aside stays",
        WRITER_FILE,
        "elif is_aside(name) and not is_below:",
        "elif False:",
        (f"{WRITER}test_the_sweep_takes_what_is_ours_and_nothing_else",),
    ),
    Planted(
        "tree-mode",
        "the mode is left to chance",
        WRITER_FILE,
        "        os.fchmod(file.fileno(), entry.mode)\n",
        "",
        (f"{WRITER}test_a_mode_and_a_kind_are_changes_too",),
    ),
    Planted(
        "tree-patch-content",
        "a damaged patch is unpacked",
        "kernel/tree/quarantine.py",
        "if file.content is not None and digest_of_bytes(file.content) != file.digest:",
        "if False:",
        (f"{QUARANTINE}test_a_damaged_patch_is_refused",),
    ),
    Planted(
        "tree-crlf",
        "an edit turns CRLF into plain line ends",
        "kernel/tree/reading.py",
        "        if self.is_crlf:\n",
        "        if False:\n",
        (f"{READING}test_an_edit_keeps_the_rest",),
    ),
    Planted(
        "tree-binary",
        "a file with a NUL counts as text",
        "kernel/tree/reading.py",
        'if b"\\0" in data:',
        "if False:",
        (f"{READING}test_what_is_no_text_is_refused_by_name",),
    ),
)
