"""A small toolbox for amounts, durations, text and tables."""
