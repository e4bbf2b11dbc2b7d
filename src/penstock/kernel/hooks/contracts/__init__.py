"""One file for each agent: its hook's JSON into a question to the gate, the gate's answer into its JSON."""
