"""Decisions, and nothing else: no clock, no chance, no input or output."""
