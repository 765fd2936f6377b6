"""The pool at work."""
