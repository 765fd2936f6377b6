"""Edits that put phase1 into an existing app, proved before they are written, and taken back byte for byte.

The way: `tree` reads the files, `scopes`, `modules` and `flow` find out what each name stands for, `routes` and
`frames` what a request reaches, `rules` what to say about it, `edits` how to change it, `journal` writes and `revert`
takes back. Nothing here imports the app that it looks at, or the rest of phase1 but its exceptions.
"""
