"""The words of the scenarios."""
