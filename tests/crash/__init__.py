"""The crash sweep: `make crash`."""
