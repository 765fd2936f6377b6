"""What a terminal shows of a running app, and of its settings."""
