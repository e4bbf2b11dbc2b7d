"""`python -m penstock.cli` is the command `penstock`. A hive starts its workers so: theirs is a way of its own, which
spares them what only a command line needs.
"""

import sys

if sys.argv[1:3] == ["worker", "--order-fd"]:
    from penstock.fleet.worker.program import main_from_order

    sys.exit(main_from_order(int(sys.argv[3])))

from penstock.cli.main import main

main()
