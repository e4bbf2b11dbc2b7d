"""What the fleet does, told in Gherkin, and seen in real processes."""
