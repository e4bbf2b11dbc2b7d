"""Recomputes from the log alone what a run claims."""
