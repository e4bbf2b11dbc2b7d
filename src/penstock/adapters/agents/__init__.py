"""Agents: whoever is asked to do a ticket's work, as a confined process. None of them is trusted.

`command` runs any program, `report_file` reads what it says of itself, `scripted` follows a script instead of a model
(`script` reads it, `scripted_program` is what runs in the sandbox).
"""
