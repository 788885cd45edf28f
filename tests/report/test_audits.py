"""What is said of the audits of a run."""

from jobs.report.audits import audit_lines


def audit(number: int, decibels: float) -> dict[str, object]:
    return {"key": f"{number:08d}_0000", "psnr": decibels, "ssim": decibels / 100, "floor": 30.0}


def test_quantiles_and_no_warning_where_none_is_needed():
    assert audit_lines([audit(number, 40.0 + number) for number in range(21)]) == [
        "  audit    21 samples made with all steps as well: PSNR median 50.0 dB, 5th percentile 41.0, worst 40.0; "
        "SSIM median 0.500, worst 0.400"
    ]


def test_samples_below_the_floor_are_named_the_worst_first():
    (_, warning) = audit_lines([audit(number, 40.0 - 2 * number) for number in range(12)])
    named = ", ".join(f"{number:08d}_0000 {40.0 - 2 * number:.1f}" for number in range(11, 6, -1))
    assert warning == (
        f"  warning  6 of them below audit_floor=30 dB: {named} and 1 more: evaluate more steps (algo.evaluations, "
        "algo.quality)"
    )
