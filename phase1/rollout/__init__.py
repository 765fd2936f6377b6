"""How does the canary grow by itself, and how do several workers agree? Beside the core, which never imports it.

record     the desired state as text, and what a worker makes of what it reads
store      where it is kept: memory, a directory, Redis (`file_store`, `redis_store`)
agent      one thread per process: reads, applies, reports; one of them all leads (`fleet`, `leader`)
outcomes   how the calls of the two arms went
operator   what somebody wishes, written into the store
plan_file  the steps, from TOML
layer      how it gets into an app
"""
