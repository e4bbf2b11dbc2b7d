"""The working tree as the gate sees it: files, not commands, are what is checked.

`entry` is what can stand at a path and how two trees differ, `looking` reads one path, `scanner` finds what changed,
`writer` puts files back, `quarantine` keeps what an unclaimed write left, `reading` gives text to the edit tools.

Paths are relative, with forward slashes, and proper text whatever the bytes of the names: see `names`.
"""
