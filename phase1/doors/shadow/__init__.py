"""What would the pool have answered? Some of the calls that legacy answers are asked a second time, and compared.

    legacy answers the user ──▶ offered (watch) ──▶ sampled? free? paid for? (shadow) ──▶ a copy to a pool of its own
                                                                    └─▶ compared (policy.comparison), counted (report)

A copy is sent when legacy has answered, by nodes, connections, breaker and queue of its own: it can take
neither a place nor a verdict from anybody. What is kept are counts; no question and no answer.
"""
