"""How are findings told? To a person, to a program (`document`), to GitHub (`github`), to code scanning (`sarif`)."""
