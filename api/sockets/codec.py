"""The two languages of the sockets, and messages encoded once for all who hear them."""

from types import UnionType
from typing import Any, Final, TypeVar, overload

import msgspec
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

T = TypeVar("T")

_TOO_DEEP: Final = "nested too deeply"


class Codec:
    """One way to write messages: JSON in text frames or MessagePack in binary ones."""

    def __init__(
        self,
        subprotocol: str,
        opcode: Opcode,
        encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder,
        decoder_type: "type[msgspec.json.Decoder[T]] | type[msgspec.msgpack.Decoder[T]]",
    ) -> None:
        self.subprotocol: Final = subprotocol
        self.opcode: Final = opcode
        #: Frames made, each for one client or for all of them.
        self.encodings = 0
        self._encode = encoder.encode
        self._decoder_type = decoder_type
        self._decoders: dict[Any, Any] = {}

    def encode(self, message: object) -> bytes:
        """The message (a struct, or a dict of plain values) as bytes, without a frame."""
        return self._encode(message)

    @overload
    def decode(self, payload: bytes, form: type[T]) -> T: ...

    @overload
    def decode(self, payload: bytes, form: UnionType) -> Any: ...

    def decode(self, payload: bytes, form: Any) -> Any:
        """The message in `payload` as a `form`, validated.

        `form` is a struct or a union of tagged structs; its decoder is made once and kept.
        Raises: msgspec.DecodeError (msgspec.ValidationError when only the shape is wrong).
        """
        decoder = self._decoders.get(form)
        if decoder is None:
            decoder = self._decoders[form] = self._decoder_type(form)
        try:
            return decoder.decode(payload)
        except RecursionError:
            raise msgspec.DecodeError(_TOO_DEEP) from None
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(str(error)) from None

    def framed(self, message: object) -> bytes:
        """The message as one websocket frame, ready for the wire."""
        self.encodings += 1
        return WireFrame(self.opcode, self._encode(message)).serialize(mask=False)

    def __repr__(self) -> str:
        return f"<codec {self.subprotocol}>"


JSON: Final = Codec("outcry.json", Opcode.TEXT, msgspec.json.Encoder(), msgspec.json.Decoder)
MSGPACK: Final = Codec(
    "outcry.msgpack", Opcode.BINARY, msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder
)
#: In the order of our preference; a client that asks for none gets the first.
CODECS: Final = (JSON, MSGPACK)


class Frame:
    """One message for many: encoded at most once per codec, its websocket header included.

    The same bytes object goes to every subscriber, so a thousand of them cost one encoding and
    the memory of one message.
    """

    __slots__ = ("_bytes", "message")

    def __init__(self, message: object) -> None:
        self.message = message
        self._bytes: dict[Codec, bytes] = {}

    def bytes_for(self, codec: Codec) -> bytes:
        """The whole websocket frame in the language of `codec`."""
        found = self._bytes.get(codec)
        if found is None:
            found = self._bytes[codec] = codec.framed(self.message)
        return found
