"""`penstock.toml`, read strictly into the policy in force and what the shell needs to know."""
