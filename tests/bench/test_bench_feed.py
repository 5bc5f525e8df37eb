"""The feed's benchmark measures what it claims to measure."""

import json

import pytest

from bench.feed import feed_report


@pytest.mark.slow
def test_every_subscriber_hears_of_every_change_and_each_is_encoded_once() -> None:
    report = feed_report(subscribers=3, rate=50, seconds=1.0)
    assert json.loads(json.dumps(report)) == report
    assert report["updates_missed"] == report["updates_conflated"] == 0
    assert report["messages_delivered"] == 3 * report["encodings"]
    assert 10 < report["encodings"] <= 51
    assert 0 < report["delivery_ms"]["p50"] < 5_000
