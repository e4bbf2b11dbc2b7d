"""Test runners, one technology each, behind `penstock.kernel.runner.TestRunner`."""
