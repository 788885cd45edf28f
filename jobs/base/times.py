"""How long processes wait for each other, in seconds; nearly every such constant of the runner is here.

``JOBS_PATIENCE`` multiplies them: above 1 for a slow or overloaded file system or network, below 1 where a loss should
be noticed sooner. All processes of a run must agree on it.
"""

import os

PATIENCE = float(os.environ.get("JOBS_PATIENCE", "1"))

# Attempts (jobs.store): the journal's modification time is the heartbeat.
HEARTBEAT = 5.0 * PATIENCE
SILENT = 60.0 * PATIENCE  # an attempt on another machine counts as gone after this long without a heartbeat

LOOK = 1.0 * PATIENCE  # between looks at work that others are at

# Ranks that share a sample (jobs.parallel).
MEET = 600.0 * PATIENCE  # ranks wait for each other at the start: a node may be slow to begin
BEAT = 1.0 * PATIENCE  # between a rank's signs of life
LOST = 15  # beats missed after which a rank is given up; on the same machine its end is seen at once
AGREE = 17.0 * PATIENCE  # ranks have to meet the same exception; longer than it takes to notice a lost one
HANGS = 600.0 * PATIENCE  # a collective that takes longer hangs
SPEAKS = 10.0 * PATIENCE  # the first of several processes has to have said what all of them found wrong

# The pool of one machine and the queue of a cluster (jobs.execute).
ENDS = 8.0 * PATIENCE  # a worker has to end by itself, also one that has lost a rank
POLL = 3.0 * PATIENCE  # between looks at the directory of a run that is waited for

# A task of a cluster.
GENERATES = 30 * 60  # it should generate at least so long: loading is then a small part of it

# A task that has to stop (jobs.execute.halt).
LAST = 6.0 * PATIENCE  # before its time ends, a task has to have asked for another turn
GRACE = 20.0 * PATIENCE  # after a SIGTERM likewise: a SIGKILL follows within Slurm's KillWait, 30 s by default

# What is asked of Slurm (jobs.execute).
QUEUE = 10.0 * PATIENCE  # between looks at its queue, however many tasks are waited for
ANSWER = 60.0 * PATIENCE  # one of its commands has to answer
SLOW = 5.0 * PATIENCE  # without an answer of sbatch, after which that is said
SETTLES = 60.0 * PATIENCE  # an array that sbatch did not answer for must have come to light in the queue
BLOCKED = 120.0 * PATIENCE  # nothing in the queue can start, before a command ends over that
BRIEF = 10.0 * PATIENCE  # the queue has to answer where the files tell nearly all
LOCKED = 600.0 * PATIENCE  # another command may be submitting
