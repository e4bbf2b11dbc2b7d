"""The bundled example: a small real package, a backlog, and an agent that is scripted to behave like real ones."""
