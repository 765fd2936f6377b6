"""Which pure, synchronous decisions does the pool make?

    classify    what does this outcome mean for the node, the pool and the next step? (`kinds`, `codes`, `retry_after`)
    canary      which keys belong to the canary?
    selection   does this request go to the pool or to the legacy client?
    breaker     may this request use the pool now? (`rules`, `phase`, `tripwire`, `backoff` …)

No I/O, no asyncio, no settings: clock and randomness come in as arguments.
"""
