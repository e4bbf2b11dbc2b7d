"""Runs coding agents on tickets, and lets through only what is proven."""

__version__ = "0.1.0"
