"""One hive a machine: it spawns workers, watches them, drains and ends them, and says so to the queen.

program.run_hive(HiveOptions) ─► Hive ─┬─ Spawner ─► template process ─┐ fork
                                       │          └───── cold ─────────┴──► worker
                                       ├─ watching, ending, restarts
                                       ├─ endpoints (HTTP)
                                       └─ Reporter ─► queen
"""
