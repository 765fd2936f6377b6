"""How an app mounts phase1."""
