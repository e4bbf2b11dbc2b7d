"""Who started this process, noted before anything that takes time is imported: the command line imports this first.

A parent that ends later is noticed by whoever compares (`--with-parent`). One that had ended even before, while Python
itself was starting, has left us another parent, and nothing can tell; a pipe (`--owner-fd`) has no such gap.
"""

import os

PARENT_PID = os.getppid()
"""Who was the parent when our code began to run."""
