"""The apps of `benchmarks.unblock`: one file untouched, the same with two lines more, and its stock async twin."""
