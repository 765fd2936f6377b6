"""What do an app's users notice when LLM endpoints misbehave? Endpoints that do, users who ask, and a table.

upstream   one endpoint on a real socket
faults     what it does wrong
suites     which faults are tried, one after the other
run        users ask the pool all the while
report     what came out, and whether that is what was promised
"""
