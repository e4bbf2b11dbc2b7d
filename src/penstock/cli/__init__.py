"""The penstock command: stdout is data, stderr is talk. The first of our code that runs is what is imported here."""

from penstock.fleet import first_parent as first_parent
