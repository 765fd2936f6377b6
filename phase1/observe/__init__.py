"""What others may see."""
