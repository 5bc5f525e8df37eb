"""The projector's benchmark drains what it says it drains."""

import json

import pytest

from bench.projector import projector_report


@pytest.mark.slow
@pytest.mark.database
def test_the_report_counts_rows_and_states_rates() -> None:
    report = projector_report(orders=500, repeats=1, live_rate=0)
    assert json.loads(json.dumps(report)) == report
    for load in ("batches", "single"):
        figures = report[load]
        assert figures["rows"]["keys"] < 500 < sum(figures["rows"].values())
        assert figures["orders_per_second"]["min"] > 0
        assert figures["disk_bytes_per_order"] > 100
