# cython: boundscheck=False, wraparound=False, cdivision=True, language_level=3
"""Batch reader and writer of RTP headers (RFC 3550 section 5.1) over one buffer of many packets.

`parse(buffer, offsets)` reads the packets that lie at `offsets[i]:offsets[i + 1]`; one call costs a few nanoseconds per
packet, where a Python loop costs a hundred and more.
"""

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

HEADER = np.dtype([
    ("ssrc", np.uint32),
    ("timestamp", np.uint32),
    ("sequence", np.uint16),
    ("payload_offset", np.uint16),
    ("payload_type", np.uint8),
    ("marker", np.uint8),
    ("valid", np.uint8),
    ("padding", np.uint8),
])
"""One row per packet. `payload_offset`: bytes from the start of the packet. `padding`: the P bit. Rows of what is no RTP
packet have `valid` 0 and are otherwise 0."""

cdef packed struct Header:
    uint32_t ssrc
    uint32_t timestamp
    uint16_t sequence
    uint16_t payload_offset
    uint8_t payload_type
    uint8_t marker
    uint8_t valid
    uint8_t padding


def parse(const uint8_t[::1] buffer not None, const int64_t[::1] offsets not None):
    """Headers of the packets in `buffer`, a structured array of dtype `HEADER` and shape (len(offsets) - 1,).

    `offsets`: int64, ascending, from within 0 to len(buffer). Raises ValueError when they are not.
    """
    cdef Py_ssize_t count = offsets.shape[0] - 1
    cdef Py_ssize_t i
    if count < 0:
        raise ValueError("offsets must hold at least the start of the first packet")
    for i in range(count):
        if offsets[i] > offsets[i + 1]:
            raise ValueError(f"offsets[{i + 1}] is below offsets[{i}]")
    if offsets[0] < 0 or offsets[count] > buffer.shape[0]:
        raise ValueError("offsets reach beyond the buffer")
    result = np.zeros(count, HEADER)
    cdef Header[::1] rows = result
    cdef const uint8_t* data = &buffer[0] if buffer.shape[0] else NULL
    with nogil:
        for i in range(count):
            parse_one(data + offsets[i], offsets[i + 1] - offsets[i], &rows[i])
    return result


def write(uint8_t[::1] buffer not None, const int64_t[::1] offsets not None, const Header[::1] headers not None):
    """Writes fixed headers of 12 bytes, without extension and contributing sources, at `offsets[i]`.

    `offsets`: int64, shape (len(headers),). Raises ValueError when a header would not fit the buffer.
    """
    cdef Py_ssize_t i
    cdef uint8_t* at
    if offsets.shape[0] != headers.shape[0]:
        raise ValueError("offsets and headers differ in length")
    for i in range(offsets.shape[0]):
        if offsets[i] < 0 or offsets[i] + 12 > buffer.shape[0]:
            raise ValueError(f"the header at offsets[{i}] reaches beyond the buffer")
    with nogil:
        for i in range(headers.shape[0]):
            at = &buffer[offsets[i]]
            at[0] = 0x80
            at[1] = ((headers[i].marker & 1) << 7) | (headers[i].payload_type & 0x7F)
            at[2] = headers[i].sequence >> 8
            at[3] = headers[i].sequence & 0xFF
            put_u32(at + 4, headers[i].timestamp)
            put_u32(at + 8, headers[i].ssrc)


cdef inline void parse_one(const uint8_t* packet, int64_t length, Header* row) noexcept nogil:
    cdef int64_t end
    if length < 12 or packet[0] >> 6 != 2:
        return
    end = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        if end + 4 > length:
            return
        end += 4 + 4 * ((<int64_t>packet[end + 2] << 8) | packet[end + 3])
    if end > length or end > 0xFFFF:
        return
    row.valid = 1
    row.padding = (packet[0] >> 5) & 1
    row.marker = packet[1] >> 7
    row.payload_type = packet[1] & 0x7F
    row.sequence = (<uint16_t>packet[2] << 8) | packet[3]
    row.timestamp = get_u32(packet + 4)
    row.ssrc = get_u32(packet + 8)
    row.payload_offset = <uint16_t>end


cdef inline uint32_t get_u32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void put_u32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF
