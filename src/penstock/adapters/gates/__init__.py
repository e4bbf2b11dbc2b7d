"""Gates: commands that are run confined, and judged by what was seen."""
