"""Edits that put phase1 into an existing app, proved before they are written, and taken back byte for byte.

The way: `tree` reads the files; `scopes` and `modules` say what stands where; `names`, `attributes`, `annotations`,
`expressions` and `flow`, each built on the one before, find out what each name stands for; `routes` and `frames` what
a request reaches; `model` is all of this together. `rules` look at it, `doctor` collects what they say. `plan` chooses
the edits, `edits` and `transform` make them, `proof` tries them, `journal` writes and `revert` takes back.

Nothing here imports the app that it looks at, or the rest of phase1 but its exceptions.
"""
