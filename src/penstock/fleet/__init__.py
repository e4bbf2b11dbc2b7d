"""Queen, hive and worker: models served by real processes, on one machine or many.

    client ──► queen ──────────────► worker        requests and tokens; the queen routes, queues and passes bytes
                 ▲  │ spawn, end        ▲
          report │  ▼                   │ spawns, watches, ends
                 hive ──────────────────┘          one per machine

What is decided is in `core/fleet`, pure. Here are the processes round it.
"""
