"""report.html: one page that shows a run, with thumbnails of its samples in it, and needs nothing else."""
