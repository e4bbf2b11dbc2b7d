"""The queen: the only address that a client needs. Registers hives, routes and queues requests, passes bytes.

endpoints ──► Exchange ──► Dispatcher ──► Routing (pure)
                 │             │ spawn, end
                 ▼             ▼
             Upstreams       Hives ◄── reports
             (workers)         └──► HiveRegistry
"""
