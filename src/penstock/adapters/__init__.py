"""One technology each; none knows another."""
