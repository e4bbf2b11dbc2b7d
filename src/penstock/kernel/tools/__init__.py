"""The tools that an agent gets. There is no ungated writer: every mutator goes by the dispatcher to the session."""
