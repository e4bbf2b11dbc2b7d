"""The penstock command: stdout is data, stderr is talk."""
