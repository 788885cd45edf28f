"""The page of the benchmark of large launches; what it measures runs by hand."""

from tools.benchmarks.scale.report import render

TIMES = {"wall": 3.14, "cpu": 2.0, "peak_mb": 120.4}
RESULTS = {
    "machine": {
        **{"cpu": "a cpu", "cores": 2, "memory_gib": 4.0, "system": "Linux 6", "python": "3.11"},
        **{"file_system": "ext4", "libraries": {"submitit": "1.5"}},
    },
    **{
        "shards": 10_000,
        "cores_busy_elsewhere": 0.1,
        "queued": 9_999,
        "arrays": 10,
        "launch_bytes": 1_234_567,
        "launch_files": 24,
    },
    **dict.fromkeys(("submit", "again", "status", "cancel", "status_done"), TIMES),
    "wait": {"seconds": 60.0, "share": 0.0123, "share_of_children": 0.0004, "mb": 99.6},
}


def test_the_page_shows_each_figure_beside_its_aim() -> None:
    page = render(RESULTS)
    assert "# A launch of 10,000 tasks" in page and "9,999 tasks in 10 arrays" in page
    assert "3.1 s (2.0 s of a core)" in page and " 120 MB |" in page
    assert "1.23 % of a core" in page and "1.23 MB in 24 files" in page
