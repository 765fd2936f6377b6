"""Which pure, synchronous decisions does the pool make?

    classify    what does this outcome mean for the node, the pool and the next step? (`kinds`, `codes`, `retry_after`)
    canary      which keys belong to the canary?
    selection   does this request go to the pool or to the legacy client?
    evidence    is the canary worse than its control, or not worse by more than a margin?
    rollout     does the percent rise, stay or fall? (`rollout_plan`, `rollout_arms`, `rollout_guard`, `rollout_watch`,
                `rollout_acts`)
    breaker     may this request use the pool now? (`rules`, `phase`, `tripwire`, `backoff` …)
    balancer    which of the usable nodes is asked? (`latency`, `ring`, `models`)
    ejection    is this node so bad that it gets no traffic for a while?
    quota       may this quota domain be asked now, and if not, when? (`cooldown`, `bucket`, `ratelimits`)
    limiter     how many calls may a node have in flight? (`scaling`: how many clients?)
    failover    who is asked after a failed attempt? (`budget`, `silence`)
    waiting     how long will somebody who joins the queue have to wait?

No I/O, no asyncio, no settings: clock and randomness come in as arguments.
"""
