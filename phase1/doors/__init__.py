"""How calls get into the engine."""
