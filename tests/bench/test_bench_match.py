"""The matching benchmark measures what it claims to measure."""

import json
from pathlib import Path

import pytest

from bench.match import match_report, scaling_report
from bench.textbook import TextbookBook
from bench.workloads import book_sha256, mixed, read, resting, tape_sha256, write


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.bin"
    write(path, [*resting(200, seed=5), *mixed(1_500, seed=5, resting_count=200)])
    return path


def test_a_workload_file_reads_as_it_was_written(workload: Path) -> None:
    operations = [*resting(200, seed=5), *mixed(1_500, seed=5, resting_count=200)]
    assert read(workload) == operations
    assert workload.stat().st_size == 16 * len(operations)


@pytest.mark.slow
def test_the_report_states_the_figures_of_the_textbook_book(workload: Path) -> None:
    textbook = TextbookBook()
    trades = textbook.run(read(workload))
    report = match_report(workload, repeats=1)
    assert json.loads(json.dumps(report)) == report
    assert report["ops"] == 1_700
    assert report["trades"] == len(trades) > 200
    assert report["volume_lots"] == sum(trade.quantity for trade in trades)
    assert report["tape_sha256"] == tape_sha256([n for trade in trades for n in trade])
    assert report["book_sha256"] == book_sha256(textbook.resting())


@pytest.mark.slow
def test_the_scaling_report_names_a_cost_for_every_size() -> None:
    report = scaling_report(resting_counts=(100, 1_000), count=500)
    assert json.loads(json.dumps(report)) == report
    rows = report["ns_per_operation_by_resting_orders"]
    assert isinstance(rows, dict)
    assert set(rows) == {"100", "1000"}
