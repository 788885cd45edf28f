"""One sample shared by several GPUs: the ranks of a group, and how a pipeline's work is split among them."""
