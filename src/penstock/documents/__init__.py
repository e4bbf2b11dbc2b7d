"""Text that a user wrote (TOML, YAML, Markdown), read into values that know their lines. Pure: text in, values out."""
