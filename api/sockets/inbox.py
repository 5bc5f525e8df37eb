"""What one client says: frames to whole messages, and the control frames to answer it with.

Pure: framing is `websockets`' sans-IO protocol; masks, lengths and the order of frames are its to
check. Here messages are put together, text is checked and the client's rate is kept.
"""

from typing import Final

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from api.sockets.codec import Codec
from api.sockets.codes import CloseCode
from api.sockets.rate import Rate

_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


class Inbox:
    """Messages of one client, until it says goodbye or breaks a rule."""

    def __init__(self, codec: Codec, message_bytes_max: int, rate: Rate) -> None:
        #: How many messages, control frames included, the client may send.
        self.rate = rate
        #: Why nothing more is taken, and in words.
        self.ended_with: CloseCode | None = None
        self.reason = ""
        #: Whether a pong came; whoever looks at it sets it back.
        self.has_pong = False
        self._wants = codec.opcode
        self._framing = Protocol(Side.SERVER, max_size=message_bytes_max)
        self._part: bytearray | None = None
        self._is_text = False

    def take(self, data: bytes, now_s: float) -> list[bytes]:
        """The whole messages that `data` completes, up to what ends the inbox, if anything does."""
        self._framing.receive_data(data)
        frames = self._framing.events_received()
        if frames and not self.rate.allows(len(frames), now_s):
            self._end(CloseCode.TOO_MANY_REQUESTS, "too many messages")
        messages: list[bytes] = []
        for frame in frames:
            if self.ended_with is None and isinstance(frame, WireFrame):
                self._take_frame(frame, messages)
        if self._framing.state is not State.OPEN:
            self._end(self._code_of_end(), "")
        return messages

    def replies(self) -> bytes:
        """Pongs that are due; none once the protocol is closing, whose last word is `farewell`."""
        is_open = self._framing.state is State.OPEN
        return b"".join(self._framing.data_to_send()) if is_open else b""

    def farewell(self, code: int, reason: str) -> bytes:
        """The close frame: ours, unless what the client did has led to another one."""
        if self._framing.state is State.OPEN:
            self._framing.send_close(code, reason)
        return b"".join(self._framing.data_to_send())

    def _take_frame(self, frame: WireFrame, messages: list[bytes]) -> None:
        if frame.opcode is Opcode.PONG:
            self.has_pong = True
        if frame.opcode not in _DATA:
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if self._is_text and self._wants is Opcode.BINARY:
                self._end(CloseCode.UNSUPPORTED_DATA, "binary messages are spoken here")
                return
        if self._part is not None:
            self._part += frame.data
        elif not frame.fin:
            self._part = bytearray(frame.data)
        if frame.fin:
            self._take_whole(bytes(frame.data if self._part is None else self._part), messages)
            self._part = None

    def _take_whole(self, message: bytes, messages: list[bytes]) -> None:
        if self._is_text and not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._end(CloseCode.INVALID_TEXT, "not UTF-8")
                return
        messages.append(message)

    def _end(self, code: CloseCode, reason: str) -> None:
        if self.ended_with is None:
            self.ended_with, self.reason = code, reason

    def _code_of_end(self) -> CloseCode:
        """Why the protocol has left the open state: our complaint, or the client's farewell."""
        sent = self._framing.close_sent
        if self._framing.parser_exc is None or sent is None:
            return CloseCode.NORMAL
        return CloseCode(sent.code)
