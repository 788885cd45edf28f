"""Published methods that choose schedules or weights, re-implemented from what their papers say of them.

Each is one module and makes a ``problem.Plan``: which steps are evaluated, and of which weights the forecasts of the
others are sums. So all run on the same hooks and are compared at equal evaluations. What was left out is in
``catalog.PEERS``, and on the page.
"""
