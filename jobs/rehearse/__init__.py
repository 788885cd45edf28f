"""A model at its real size without its weights: what a run needs of a GPU, counted before there is one."""
