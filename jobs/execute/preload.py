"""What workers on a CPU share: one process imports these libraries, which take seconds, and each worker is its fork."""


import jobs.execute.worker  # noqa: F401
