"""Performs what the core decides, and reports what happened."""
