"""Red-green: no edit reaches production code without a failing test that asks for it. A pure function of a ledger."""
