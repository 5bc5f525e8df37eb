"""What a metric is: a name, what it says, and how it is read from what a scrape sees."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from api.metrics.loop_lag import LoopLag
from api.metrics.traffic import Histogram, Traffic
from api.rates import Rates
from api.web.limits import ServerCounts
from engine.ports import Watermark
from engine.service import Health, Service
from engine.wiring import Line


class Kind(StrEnum):
    """How a metric's numbers are to be understood."""

    COUNTER = "counter"  # only grows, until the process starts anew
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scene(NamedTuple):
    """What one scrape sees; `line` is None between two lives of the engine.

    `watermark` and `snapshot_sequence` are None when the store did not say in time.
    """

    service: Service
    line: Line | None
    health: Health
    watermark: Watermark | None
    snapshot_sequence: int | None
    counts: ServerCounts
    rates: Rates
    traffic: Traffic
    lag: LoopLag


#: One number, or one for each label or tuple of labels; None: nothing to be said now.
Reading = float | Histogram | Mapping[Any, Any] | None


class Metric(NamedTuple):
    """One row of a table. `read` is called with a scene, or with the line of one."""

    kind: Kind
    name: str
    about: str
    read: Callable[[Any], Reading]
    labels: tuple[str, ...] = ()

    def family(self, reading: Reading) -> Family:
        """What is told of it now."""
        family = _FAMILIES[self.kind](self.name, self.about, labels=self.labels)
        readings = reading if isinstance(reading, Mapping) else {(): reading}
        for names, value in readings.items():
            if isinstance(value, Histogram):
                family.add_metric(_texts(names), value.buckets, sum_value=value.sum)
            elif value is not None:
                family.add_metric(_texts(names), value)
        return cast("Family", family)


_FAMILIES: Final[dict[Kind, Any]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


def families(metrics: Sequence[Metric], seen: Any) -> Iterator[Family]:
    """What a table has to tell of what is seen."""
    for metric in metrics:
        yield metric.family(metric.read(seen))


def _texts(names: Any) -> list[str]:
    return [str(one) for one in names] if isinstance(names, tuple) else [str(names)]
