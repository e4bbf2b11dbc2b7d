"""Runs inside the interpreter of the project under test: the standard library and the project's own pytest, no more.

Works with Python >= 3.9 and knows nothing of Penstock: the directory above is shown alone to the sandbox. Nothing here
writes to the tree, and nothing here trusts what the tree says about its tests: each module says what it looks at.
"""
