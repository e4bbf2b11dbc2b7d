"""The models that a hive can serve: what they are, where they lie, and how they come here."""
