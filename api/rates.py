"""How many requests a caller may send: by address, by key and by account.

The generic cell rate algorithm: a bucket is one number, the time at which it will be full again.
Each request moves that time on by its weight's share of a second; a caller whose bucket would be
full later than a whole burst from now waits. Nothing here reads a clock.
"""

from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from math import ceil
from typing import Annotated, Final

import msgspec

from api.keys.addresses import address_of

_SECOND_NS: Final = 1_000_000_000
_V6_NETWORK_BITS: Final = 64
_ADDRESSES_CACHED_MAX: Final = 4_096

PerSecond = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Burst = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class RateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests a second, and how many at once after a rest; 0 a second is no limit.

    An IPv6 network of 64 bits counts as one address. Cancels and kills count, and always pass.
    """

    ip_per_second: PerSecond = 1_000
    ip_burst: Burst = 2_000
    key_per_second: PerSecond = 500
    key_burst: Burst = 1_000
    account_per_second: PerSecond = 1_000
    account_burst: Burst = 2_000
    #: What a request without a good key weighs on its address, besides itself.
    failure_weight: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 10
    #: Addresses, and keys, and accounts, remembered at once; those at rest are forgotten first.
    buckets_max: Annotated[int, msgspec.Meta(ge=1)] = 100_000


#: For those who measure the server and not their own patience.
NO_RATES: Final = RateSettings(ip_per_second=0, key_per_second=0, account_per_second=0)


class Limit:
    """One kind of caller: so many a second each, and a burst.

    Complexity: O(1) for every request, whatever it is told.
    """

    def __init__(self, name: str, per_second: int, burst: int, buckets_max: int) -> None:
        self.name: Final = name
        self._unit_ns = _SECOND_NS // per_second
        self._buckets_max = buckets_max
        #: Requests that had to wait.
        self.refused = 0
        self._full_ns: OrderedDict[str | int, int] = OrderedDict()  # who spoke last stands last
        self.burst: Final = burst
        self.window_ns: Final = self._unit_ns * burst

    @property
    def policy(self) -> str:
        """What `RateLimit-Policy` says of it.

        >>> Limit("key", 500, 1_000, 9).policy
        '"key";q=1000;w=2'
        """
        return f'"{self.name}";q={self.burst};w={max(1, ceil(self.window_ns / _SECOND_NS))}'

    @property
    def buckets(self) -> int:
        """How many callers are remembered."""
        return len(self._full_ns)

    def take(self, who: str | int, weight: int, now_ns: int, *, always: bool) -> int:
        """Take `weight` from a caller's bucket; how much of its window is in use then, in ns.

        More than `window_ns` means refused, and nothing was taken. `always` takes what there is.
        No weight is more than a whole bucket.

        >>> limit = Limit("key", 10, 2, 9)
        >>> [limit.take("bot", 1, 0, always=False) // 10**6 for _ in range(3)]
        [100, 200, 300]
        >>> limit.take("bot", 1, 10**8, always=False) // 10**6
        200
        """
        full = self._full_ns
        due_ns = full.get(who, 0)
        cost_ns = min(weight * self._unit_ns, self.window_ns)
        used_ns = max(0, due_ns - now_ns) + cost_ns
        if used_ns > self.window_ns:
            if not always:
                self.refused += 1
                return used_ns
            used_ns = self.window_ns
        full[who] = now_ns + used_ns
        if due_ns:
            full.move_to_end(who)
        else:
            self._forget(now_ns)
        return used_ns

    def _forget(self, now_ns: int) -> None:
        """Make room after a newcomer: two at rest, if there are, so that the table shrinks."""
        full = self._full_ns
        for _ in range(min(2, len(full))):
            oldest = next(iter(full))
            if full[oldest] > now_ns and len(full) <= self._buckets_max:
                return
            del full[oldest]

    def remaining(self, used_ns: int) -> int:
        """How many requests are left at this use of the window."""
        return max(0, self.window_ns - used_ns) // self._unit_ns


class Standing(msgspec.Struct, frozen=True):
    """How a caller stands with the limit that binds it most."""

    limit: Limit
    used_ns: int

    @property
    def wait_ns(self) -> int:
        """How long until the same request passes; 0 when it has."""
        return max(0, self.used_ns - self.limit.window_ns)

    @property
    def header(self) -> str:
        """What `RateLimit` says: what remains, and the seconds until all of it is back.

        >>> Standing(Limit("key", 500, 1_000, 9), 20_000_000).header
        '"key";r=990;t=1'
        """
        remaining = self.limit.remaining(self.used_ns)
        return f'"{self.limit.name}";r={remaining};t={-(-self.used_ns // _SECOND_NS)}'

    def tighter(self, other: "Standing | None") -> "Standing":
        """The one that has less of its window left."""
        if other is None:
            return self
        ours = self.used_ns * other.limit.window_ns
        return self if ours >= other.used_ns * self.limit.window_ns else other


class Rates:
    """The limits of one server."""

    def __init__(self, settings: RateSettings) -> None:
        self._failure_weight = settings.failure_weight
        most = settings.buckets_max
        self.by_address = _limit("ip", settings.ip_per_second, settings.ip_burst, most)
        self.by_key = _limit("key", settings.key_per_second, settings.key_burst, most)
        self.by_account = _limit(
            "account", settings.account_per_second, settings.account_burst, most
        )
        limits = (self.by_address, self.by_key, self.by_account)
        #: What `RateLimit-Policy` says on every answer; "" without limits.
        self.policy: Final = ", ".join(limit.policy for limit in limits if limit is not None)

    def of_address(
        self, address: str, weight: int, now_ns: int, *, always: bool = False
    ) -> Standing | None:
        """Count a request by where it comes from; None without a limit."""
        limit = self.by_address
        if limit is None:
            return None
        return Standing(limit, limit.take(network_of(address), weight, now_ns, always=always))

    def failed(self, address: str, now_ns: int) -> None:
        """Count a request that had no good key."""
        self.of_address(address, self._failure_weight, now_ns, always=True)

    def of_caller(
        self, key_id: int, account_id: int, weight: int, now_ns: int, *, always: bool = False
    ) -> Standing | None:
        """Count a request by its key, and by the key's account if it has one."""
        standing: Standing | None = None
        for limit, who in ((self.by_key, key_id), (self.by_account, account_id)):
            if limit is not None and who:
                taken = Standing(limit, limit.take(who, weight, now_ns, always=always))
                if taken.wait_ns:
                    return taken
                standing = taken.tighter(standing)
        return standing


def _limit(name: str, per_second: int, burst: int, buckets_max: int) -> Limit | None:
    return Limit(name, per_second, burst, buckets_max) if per_second else None


def network_of(address: str) -> str:
    """What counts as one address: who has one of IPv6 has its whole network.

    >>> network_of("192.0.2.1"), network_of("2001:db8::1:2:3"), network_of("::ffff:192.0.2.1")
    ('192.0.2.1', '2001:db8::', '192.0.2.1')
    """
    return _network_of_v6(address) if ":" in address else address


@lru_cache(_ADDRESSES_CACHED_MAX)
def _network_of_v6(address: str) -> str:
    known = address_of(address.partition("%")[0])
    if not isinstance(known, IPv6Address):
        return address if known is None else str(known)
    return str(ip_network((int(known), _V6_NETWORK_BITS), strict=False).network_address)
