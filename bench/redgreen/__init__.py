"""How quick red-green is: `python -m bench.redgreen`. What is compared is measured side by side in one run."""
