"""How deep JSON is nested, told without reading it, so that no decoder has to go there."""

import re
from itertools import accumulate
from typing import Final

NESTING_MAX: Final = 32

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
#: Bytes that are +1 and -1 when they are read as signed.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_drop_escapes = re.compile(rb"\\.", re.DOTALL).sub


def is_too_deep(json: bytes, nesting_max: int = NESTING_MAX) -> bool:
    """Whether arrays and objects stand more than `nesting_max` deep; JSON or not.

    Complexity: O(bytes), and next to nothing for what opens no more brackets than it may nest.

    >>> is_too_deep(b"[" * 33 + b"]" * 33), is_too_deep(b'{"a": "' + b"[" * 33 + b'"}')
    (True, False)
    """
    if json.count(b"[") + json.count(b"{") <= nesting_max:
        return False
    if b"\\" in json:
        json = _drop_escapes(b"", json)
    quoted = json.translate(None, _NO_BRACKETS)
    brackets = b"".join(quoted.split(b'"')[::2])
    steps = memoryview(brackets.translate(_STEPS)).cast("b")
    return max(accumulate(steps), default=0) > nesting_max
