# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""One end of a connection in HTTP/2 for byteexact.py, of either side.  python3-h2 knows states, windows and
header blocks and refuses what breaks the rules; how frames are cut, padded and split in time is random, and
so are the settings: windows, frame sizes, tables.

    end = End(rng, stream, writer, client=True)
    s = end.open(fields, end_stream)
    await end.body(s, b"...", trailers)
    kind, value = await s.next()        # see KINDS
"""
import asyncio
import contextlib
import sys

from plan import DEADLINE, Wrong, carried, pairs, send

sys.path.append("/usr/lib/python3/dist-packages")   # the distribution's, whichever Python is first
try:
    import h2.config
    import h2.connection
    import h2.events
    import h2.exceptions
    import h2.settings
    import hpack
except ImportError:
    h2 = None       # byteexact.py says so, and leaves the pairs out that need it

# What Stream.next() gives: INTERIM and HEAD: (pseudo, lines), DATA: bytes, TRAILERS: lines, END: None,
# RESET: code.
KINDS = INTERIM, HEAD, DATA, TRAILERS, END, RESET = "interim", "head", "data", "trailers", "end", "reset"
HEADERS, CONTINUATION, END_HEADERS, PADDED = 1, 9, 4, 8


class Reset(Wrong):
    """The other side has ended the stream, or the connection."""


def lines_of(fields):
    """Fields as lines of HTTP/1, and the pseudo headers."""
    pseudo = {n: v for n, v in fields if n.startswith(b":")}
    return pseudo, [n + b": " + v + b"\r\n" for n, v in fields if not n.startswith(b":")]


class Stream:
    def __init__(self, end, number):
        self.end, self.id, self.news, self.is_over = end, number, asyncio.Queue(), False

    async def next(self):
        kind, value, credit = await asyncio.wait_for(self.news.get(), DEADLINE)
        self.end.took(self, credit)
        return kind, value

    async def message(self):
        """All that is left of a body: (bytes, trailers); a Reset has what had come of it."""
        body, trailers = b"", []
        while True:
            kind, value = await self.next()
            if kind == DATA:
                body += value
            elif kind == TRAILERS:
                trailers = value
            elif kind == END:
                return body, trailers
            elif kind == RESET:
                e = Reset(f"reset with {value} after {len(body)} bytes")
                e.got = body
                raise e
            else:
                raise Wrong(f"{kind} in a body")

    def drop(self):
        """Nobody reads it any more."""
        self.end.streams.pop(self.id, None)
        while not self.news.empty():
            self.end.took(self, self.news.get_nowait()[2])


class End:
    def __init__(self, rng, stream, writer, client, begun=None, plain=False):
        """begun(stream): a request came.  plain: callers send before they know the settings, which are
        therefore the usual ones."""
        codes = h2.settings.SettingCodes
        table = rng.choice([0, 100, 4096, 4096, 60000])
        most = rng.choice([16384, 16384, 16385, 65536, (1 << 24) - 1])
        values = {codes.INITIAL_WINDOW_SIZE: rng.choice([65535, 65535, 1000, 16384, 16385, 1 << 20]),
                  codes.MAX_FRAME_SIZE: most, codes.HEADER_TABLE_SIZE: table, codes.ENABLE_PUSH: 0}
        if not client:
            values[codes.MAX_CONCURRENT_STREAMS] = rng.choice([100, 100, 1000, 20])
        # An endpoint may be spoken to before its SETTINGS are acknowledged, and python3-h2 would hold what
        # it sends first against the caller at once: what is narrower than usual is said later.
        self.later = {} if client or plain else values
        if plain or not client:
            values, table, most = {}, 4096, 16384
        self.rng, self.stream, self.writer, self.begun = rng, stream, writer, begun
        # What is sent is none of its business: lines go as the plan has them.
        self.h2 = c = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=client, header_encoding=None, validate_outbound_headers=False,
            normalize_outbound_headers=False, normalize_inbound_headers=False))
        c.local_settings = h2.settings.Settings(client=client, initial_values=values)
        c.decoder.max_allowed_table_size = table
        c.max_inbound_frame_size = most
        c.initiate_connection()
        if rng.random() < 0.5:
            c.increment_flow_control_window(rng.choice([1, 65536, 1 << 20]))
        self.out, self.wake, self.moved = c.data_to_send(), asyncio.Event(), asyncio.Event()
        self.streams, self.error, self.code, self.closed = {}, None, 0, False
        self.wake.set()
        self.tasks = [asyncio.ensure_future(self._write()), asyncio.ensure_future(self._read())]

    # ---- below: bytes
    def _cut(self, data):
        """Whole frames; blocks in pieces, or padded."""
        out, rng, at = [], self.rng, 0
        while at < len(data):
            n, kind, flags, rest = int.from_bytes(data[at:at + 3], "big"), data[at + 3], data[at + 4], data[at + 5:at + 9]
            block, at = data[at + 9:at + 9 + n], at + 9 + n
            pieces, pad = [block], b""
            if kind == HEADERS and n > 1 and rng.random() < 0.3:
                cuts = sorted({rng.randrange(1, n) for _ in range(rng.randrange(1, 6))})
                pieces = [block[a:b] for a, b in zip([0] + cuts, cuts + [n])]
            if kind == HEADERS and rng.random() < 0.2:
                pad, flags = bytes(rng.randrange(256)), flags | PADDED
                pieces[0] = bytes([len(pad)]) + pieces[0] + pad
            for i, piece in enumerate(pieces):
                f = flags if i == 0 else 0
                if kind == HEADERS:
                    f = f & ~END_HEADERS | (END_HEADERS if i == len(pieces) - 1 else 0)
                out.append(len(piece).to_bytes(3, "big") + bytes([kind if i == 0 else CONTINUATION, f]) + rest + piece)
        return b"".join(out)

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.out += self._cut(data)
            self.wake.set()

    async def _write(self):
        while not self.closed:      # wait_for() in send() may swallow a cancellation
            await self.wake.wait()
            self.wake.clear()
            data, self.out = self.out, b""
            try:
                await send(self.rng, self.writer, data, 30)   # the first frame's, and a bit of it
            except (OSError, asyncio.TimeoutError):
                return      # the reading side says what is wrong

    async def _read(self):
        try:
            while data := await self.stream.read(65536):
                for e in self.h2.receive_data(data):
                    self._happened(e)
                self.flush()
                self._go_on()
        except h2.exceptions.ProtocolError as e:
            self.error = f"broke the rules of HTTP/2: {e!r}"
            self.flush()
        except OSError:
            pass
        self._all_over()

    def _go_on(self):
        self.moved.set()
        self.moved = asyncio.Event()

    def _all_over(self):
        for s in list(self.streams.values()):
            s.is_over = True
            s.news.put_nowait((RESET, self.error or self.code or "the end of the connection", 0))
        self._go_on()

    # ---- what came
    def _happened(self, e):
        ev = h2.events
        s = self.streams.get(getattr(e, "stream_id", None))
        if isinstance(e, ev.SettingsAcknowledged):
            if self.later:
                self.h2.update_settings(self.later)
            else:
                self._open_windows()
            self.later = {}
        elif isinstance(e, ev.ConnectionTerminated):
            self.code = int(e.error_code)
            if self.code:
                self.error = f"GOAWAY {e.error_code!r}"
        elif isinstance(e, ev.RequestReceived):
            s = self.streams[e.stream_id] = Stream(self, e.stream_id)
            s.news.put_nowait((HEAD, lines_of(e.headers), 0))
            self.begun(s)
        elif isinstance(e, ev.DataReceived):
            if s is None:
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            else:
                s.news.put_nowait((DATA, e.data, e.flow_controlled_length))
        elif s is None:
            pass
        elif isinstance(e, ev.InformationalResponseReceived):
            s.news.put_nowait((INTERIM, lines_of(e.headers), 0))
        elif isinstance(e, ev.ResponseReceived):
            s.news.put_nowait((HEAD, lines_of(e.headers), 0))
        elif isinstance(e, ev.TrailersReceived):
            s.news.put_nowait((TRAILERS, lines_of(e.headers)[1], 0))
        elif isinstance(e, ev.StreamEnded):
            s.news.put_nowait((END, None, 0))
        elif isinstance(e, ev.StreamReset):
            s.is_over = True
            s.news.put_nowait((RESET, e.error_code, 0))

    def _open_windows(self):
        """python3-h2 gives a window back once half of it has been read, and looks at that when something has been
        read: one that the settings made narrower may be closed by now, and nothing comes of which it would
        look."""
        most = self.h2.local_settings.initial_window_size
        for s in list(self.streams):
            with contextlib.suppress(h2.exceptions.ProtocolError):
                if (left := self.h2.remote_flow_control_window(s)) < most:
                    self.h2.increment_flow_control_window(most - left, s)

    def took(self, s, n):
        if n:
            self.h2.acknowledge_received_data(n, s.id)
            self.flush()

    # ---- what goes out
    def _fields(self, fields):
        return [hpack.NeverIndexedHeaderTuple(*f) if self.rng.random() < 0.1 else f for f in fields]

    def open(self, fields, end):
        s = Stream(self, self.h2.get_next_available_stream_id())
        self.streams[s.id] = s
        self.h2.send_headers(s.id, self._fields(fields), end_stream=end)
        self.flush()
        return s

    def head(self, s, fields, end=False):
        try:
            self.h2.send_headers(s.id, self._fields(fields), end_stream=end)
        except h2.exceptions.ProtocolError as e:
            raise Reset(repr(e)) from e
        self.flush()

    def reset(self, s, code):
        try:
            self.h2.reset_stream(s.id, code)
        except h2.exceptions.ProtocolError:
            return      # it had ended
        self.flush()

    async def _room(self, s):
        while True:
            if s.is_over:
                raise Reset("reset while something was to be sent")
            n = min(self.h2.local_flow_control_window(s.id), self.h2.max_outbound_frame_size)
            if n > 0:
                return n
            await asyncio.wait_for(self.moved.wait(), DEADLINE)

    async def body(self, s, body, trailers, end=True):
        """end: it ends the stream."""
        rng, at, ended = self.rng, 0, False
        small = len(body) < 3000 and rng.random() < 0.5
        try:
            while at < len(body):
                room = await self._room(s)
                n = min(room, len(body) - at, rng.randrange(1, 40) if small else rng.choice([1000, 16383, 1 << 24, 1 << 24]))
                pad = rng.randrange(256) if rng.random() < 0.1 else None
                if pad is not None and n + pad + 1 > room:
                    pad = None
                if rng.random() < 0.03:
                    self.h2.send_data(s.id, b"")
                ended = end and at + n == len(body) and not trailers and rng.random() < 0.7
                self.h2.send_data(s.id, body[at:at + n], ended, pad)
                at += n
                self.flush()
                if rng.random() < 0.2:
                    await asyncio.sleep(rng.choice([0, 0, 0.001]))
            if end and not ended and trailers:
                self.h2.send_headers(s.id, self._fields(pairs(carried(trailers))), end_stream=True)
            elif end and not ended:
                self.h2.end_stream(s.id)
            self.flush()
        except h2.exceptions.ProtocolError as e:
            raise Reset(repr(e)) from e

    async def close(self):
        self.closed = True
        for t in self.tasks:
            t.cancel()
        await asyncio.wait(self.tasks)
        self.writer.close()
