"""One process, one model: its engine behind a port, its requests in slots, its tokens as events."""
