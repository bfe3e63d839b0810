"""Frames of Synod's binary protocol: requests to bytes, bytes to replies.

Written from docs/wire-format.md alone; the names are those of that page. Nothing here knows a socket.
"""

import struct

PREAMBLE = b"\xf5SYNOD" + struct.pack("<H", 1)
HEADER_BYTES = 24
FRAME_BYTES_MAX = 2_097_152
KEY_BYTES_MAX = 16_384
VALUE_BYTES_MAX = 1_048_576
TEXT_BYTES_MAX = 1024
TIME_MAX = 9_223_372_036_854_775_807
SESSION_REPLIES_MAX = 1024
SESSIONS_PER_GROUP_MAX = 4096
BUCKET_COUNT = 16384

QUORUM, STAMP = 0x01, 0x02

GET, EXISTS, TTL = 0x01, 0x02, 0x03
SET, DELETE, INCREMENT, SET_EXPIRY = 0x10, 0x11, 0x12, 0x13
OPEN_SESSION, IF_EQUAL, DELETE_IF = 0x14, 0x18, 0x1F
HELLO, AUTH, TOPOLOGY, STATUS, PING = 0x20, 0x21, 0x22, 0x23, 0x24
READS = {GET, EXISTS, TTL}

DONE, SKIPPED, VALUE, NIL, INT, SESSION, ERROR = 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87
HELLO_ANSWER, OK, TOPOLOGY_ANSWER, STATUS_ANSWER, PONG = 0xA0, 0xA1, 0xA2, 0xA3, 0xA4

ALWAYS, IF_ABSENT, IF_PRESENT, IF_VERSION = 0, 1, 2, 3
NO_EXPIRY, KEEP, AT, AFTER = 0, 1, 2, 3
THEN_DELETE, THEN_EXPIRE, THEN_RENEW, THEN_EXTEND = 0, 1, 2, 3

UNKNOWN, NO_LEADER, BUSY, SESSION_EXPIRED, SEQUENCE_CLOSED = 1, 2, 3, 4, 5
NOT_AN_INTEGER, OVERFLOW, BAD_EXPIRY, READ_FAILED, MALFORMED = 6, 7, 8, 9, 10
PROTOCOL, VERSION, AUTH_REQUIRED, AUTH_FAILED, UNAVAILABLE, PROTECTED = 100, 101, 102, 103, 104, 105
CODES = {
    UNKNOWN: "Unknown",
    NO_LEADER: "NoLeader",
    BUSY: "Busy",
    SESSION_EXPIRED: "SessionExpired",
    SEQUENCE_CLOSED: "SequenceClosed",
    NOT_AN_INTEGER: "NotAnInteger",
    OVERFLOW: "Overflow",
    BAD_EXPIRY: "BadExpiry",
    READ_FAILED: "ReadFailed",
    MALFORMED: "Malformed",
    PROTOCOL: "Protocol",
    VERSION: "Version",
    AUTH_REQUIRED: "AuthRequired",
    AUTH_FAILED: "AuthFailed",
    UNAVAILABLE: "Unavailable",
    PROTECTED: "Protected",
}


class BrokenFrame(Exception):
    """Bytes of the server that break the protocol: nothing on the connection can be trusted any more."""


# Checksums.


def _crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0x82F63B78 if byte & 1 else byte >> 1
        table.append(byte)
    return table


def _crc16_table():
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        table.append(crc)
    return table


_CRC32C = _crc32c_table()
_CRC16 = _crc16_table()


def crc32c(data):
    """CRC-32C of the bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def crc16(data):
    """CRC-16/XMODEM of the bytes."""
    crc = 0
    for byte in data:
        crc = ((crc << 8) & 0xFFFF) ^ _CRC16[(crc >> 8) ^ byte]
    return crc


# Placement of keys.


def hashed(key):
    """The part of a key that decides where it lies."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def bucket_of(key):
    """The bucket of a key."""
    return crc16(hashed(key)) % BUCKET_COUNT


def group_of(key, group_count):
    """The data group of a key."""
    return bucket_of(key) // (BUCKET_COUNT // group_count) + 1


# Requests.


def frame(kind, request_id, body=b"", flags=0, namespace=0, argument=0, unchecked=b""):
    """A frame. Its checksum does not cover the bytes of `unchecked`, which stand at its end."""
    checked = struct.pack("<BBHIQ", kind, flags, namespace, argument, request_id) + body
    length = 8 + len(checked) + len(unchecked)
    return struct.pack("<II", length, crc32c(checked)) + checked + unchecked


class Request:
    """A request without its id and stamp, so that it can be sent several times."""

    def __init__(self, kind, key=b"", fixed=b"", value=None, quorum=False, namespace=0, argument=None):
        self.kind = kind
        self.key = key
        self.fixed = fixed
        self.value = value
        self.quorum = quorum
        self.namespace = namespace
        self.argument = len(key) if argument is None else argument

    @property
    def is_write(self):
        """Whether a second execution would be seen."""
        return self.kind in (SET, DELETE, INCREMENT, SET_EXPIRY, IF_EQUAL, DELETE_IF)

    def encode(self, request_id, stamp=None):
        """The frame; `stamp` is (session, sequence, lowest open)."""
        flags = (QUORUM if self.quorum else 0) | (STAMP if stamp else 0)
        body = (struct.pack("<QQQ", *stamp) if stamp else b"") + self.fixed + self.key
        unchecked = b""
        if self.kind == SET:
            unchecked = self.value
        elif self.value is not None:
            body += self.value
        return frame(self.kind, request_id, body, flags, self.namespace, self.argument, unchecked)


def _version(version):
    slot, position = version
    return struct.pack("<QII", slot, position, 0)


def get(key, quorum=False, namespace=0):
    return Request(GET, key, quorum=quorum, namespace=namespace)


def exists(key, quorum=False, namespace=0):
    return Request(EXISTS, key, quorum=quorum, namespace=namespace)


def ttl(key, quorum=False, namespace=0):
    return Request(TTL, key, quorum=quorum, namespace=namespace)


def set_(key, value, condition=ALWAYS, version=None, expiry=(NO_EXPIRY, 0), return_old=False, namespace=0):
    """SET; with a version it is done only at that version."""
    if version is not None:
        condition = IF_VERSION
    fixed = struct.pack("<IBBBBQ", crc32c(value), condition, expiry[0], int(return_old), 0, expiry[1])
    if condition == IF_VERSION:
        fixed += _version(version)
    return Request(SET, key, fixed, value, namespace=namespace)


def delete(key, namespace=0):
    return Request(DELETE, key, namespace=namespace)


def increment(key, delta=1, namespace=0):
    return Request(INCREMENT, key, struct.pack("<q", delta), namespace=namespace)


def set_expiry(key, expiry, namespace=0):
    return Request(SET_EXPIRY, key, struct.pack("<QQ", expiry[0], expiry[1]), namespace=namespace)


def if_equal(key, expected, then=THEN_DELETE, milliseconds=0, namespace=0):
    return Request(IF_EQUAL, key, struct.pack("<QQ", then, milliseconds), expected, namespace=namespace)


def delete_if(key, version, namespace=0):
    return Request(DELETE_IF, key, _version(version), namespace=namespace)


def open_session(group):
    return Request(OPEN_SESSION, argument=group)


def hello(name=b""):
    return Request(HELLO, fixed=name)


def auth(password):
    return Request(AUTH, fixed=password)


def topology():
    return Request(TOPOLOGY)


def status():
    return Request(STATUS)


def ping():
    return Request(PING)


# Replies.


class Reply:
    """A response: its kind, its request's id, and what its kind holds (`None` where it holds nothing)."""

    def __init__(self, kind, request_id, **held):
        self.kind = kind
        self.request_id = request_id
        self.code = held.get("code")
        self.text = held.get("text")
        self.version = held.get("version")
        self.value = held.get("value")
        self.number = held.get("number")
        self.info = held.get("info")

    def __repr__(self):
        named = ("code", "text", "version", "value", "number", "info")
        held = ((name, getattr(self, name)) for name in named)
        return f"Reply({self.kind:#x}, id {self.request_id}, {dict(item for item in held if item[1] is not None)})"


class _Body:
    """Reads the fields of a body; what does not add up is a broken frame."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise BrokenFrame("a body that is too short")
        taken = self.data[self.at : self.at + size]
        self.at += size
        return taken

    def fields(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def number(self, layout):
        return self.fields(layout)[0]

    def u128(self):
        return int.from_bytes(self.take(16), "little")

    def text(self):
        return _text(self.take(self.number("H")))

    def rest(self):
        return self.take(len(self.data) - self.at)

    def version(self):
        slot, position, reserved = self.fields("QII")
        if reserved != 0:
            raise BrokenFrame("reserved bytes that are not zero")
        return slot, position

    def end(self):
        if self.at != len(self.data):
            raise BrokenFrame("a body that is too long")


def _text(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFrame(f"a text that is no UTF-8: {error}") from None


def split(buffer):
    """The length of the first frame in the buffer, or `None` while it is not whole."""
    if len(buffer) < 4:
        return None
    (length,) = struct.unpack_from("<I", buffer)
    if not HEADER_BYTES <= length <= FRAME_BYTES_MAX:
        raise BrokenFrame(f"a frame of {length} bytes")
    return length if len(buffer) >= length else None


def decode(data):
    """The reply that a whole frame holds."""
    length, crc, kind, flags, namespace, argument, request_id = struct.unpack_from("<IIBBHIQ", data)
    if length != len(data):
        raise BrokenFrame("a frame of another length")
    if crc32c(data[8:]) != crc:
        raise BrokenFrame("a wrong checksum")
    if flags != 0 or namespace != 0 or (argument != 0 and kind != ERROR):
        raise BrokenFrame("a header with what no response has")
    body = _Body(data[HEADER_BYTES:])
    reply = Reply(kind, request_id, **_held(kind, argument, body))
    body.end()
    return reply


def _held(kind, argument, body):
    if kind in (SKIPPED, NIL, OK, PONG):
        return {}
    if kind == DONE:
        return {"version": body.version()}
    if kind == VALUE:
        return {"version": body.version(), "value": body.rest()}
    if kind == INT:
        return {"number": body.number("q")}
    if kind == SESSION:
        return {"number": body.number("Q")}
    if kind == ERROR:
        if argument not in CODES:
            raise BrokenFrame(f"the error code {argument}")
        return {"code": argument, "text": _text(body.rest())}
    if kind == HELLO_ANSWER:
        return {"info": _server(body)}
    if kind == TOPOLOGY_ANSWER:
        return {"info": _topology(body)}
    if kind == STATUS_ANSWER:
        return {"info": _status(body)}
    raise BrokenFrame(f"a response of kind {kind:#x}")


def _server(body):
    cluster = body.u128()
    node, group_count = body.fields("HH")
    return {"cluster": cluster, "node": node, "group_count": group_count, "version": body.text()}


def _topology(body):
    cluster = body.u128()
    epoch, group_count, node_count, placement_count, reserved = body.fields("QHHHH")
    if reserved != 0:
        raise BrokenFrame("reserved bytes that are not zero")
    nodes = {}
    for _ in range(node_count):
        node, port, core_port_base, core_count = body.fields("HHHH")
        nodes[node] = {
            "port": port,
            "core_port_base": core_port_base,
            "core_count": core_count,
            "host": body.text(),
        }
    placements = {}
    for _ in range(placement_count):
        group, is_known, leader, core = body.fields("HHHH")
        placements[group] = (leader, core) if is_known else None
    return {
        "cluster": cluster,
        "epoch": epoch,
        "group_count": group_count,
        "nodes": nodes,
        "placements": placements,
    }


def _status(body):
    incarnation = body.u128()
    uptime, node, core_count, durability, group_count, counter_count = body.fields("QHHHHH")
    version = body.text()
    names = (
        "group core role serving leader_known leader promised_node promised_round "
        "chosen applied keys leader_changes"
    ).split()
    groups = [dict(zip(names, body.fields("HHBBHHHQQQQQ"))) for _ in range(group_count)]
    counters = {}
    for _ in range(counter_count):
        name = body.text()
        counters[name] = body.number("Q")
    return {
        "incarnation": incarnation,
        "uptime_ms": uptime,
        "node": node,
        "core_count": core_count,
        "durability": durability,
        "version": version,
        "groups": groups,
        "counters": counters,
    }


def address_of(known, group):
    """Where requests on keys of a group go: (host, port), or `None` if the leader is not known."""
    placement = known["placements"].get(group)
    node = known["nodes"].get(placement[0]) if placement else None
    if node is None:
        return None
    if node["core_port_base"] == 0 or node["core_count"] == 1:
        return node["host"], node["port"]
    return node["host"], node["core_port_base"] + placement[1]
