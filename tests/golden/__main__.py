"""Write the kept reports anew: `python -m tests.golden`, then read the diff."""

from tests.golden.kept import FOLDER, RUNS, made

if __name__ == "__main__":
    for run in RUNS:
        for name, text in made(run).items():
            (FOLDER / name).write_text(text, encoding="utf-8")
