"""The bundled example, run for real."""
