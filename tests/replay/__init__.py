"""A test-driven history, made of published packages and played through the gate: what honest work is refused?"""
