"""Kills queens, hives, clients and test runners over and over, and sees that nothing is left of what they owned."""
