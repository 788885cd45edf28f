"""Who does the work: a worker, the pool of one machine, a cluster task, and the sweep that launches them."""
