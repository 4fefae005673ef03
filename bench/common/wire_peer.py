"""A client of one core without SDP: ICE and DTLS of aiortc, RTP by hand."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Self

from aiortc import RTCCertificate, RTCIceCandidate, RTCIceGatherer, RTCIceParameters, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from pysfu import Sfu

PWD = "p" * 24
PATIENCE = 15.0
# Of <asm-generic/socket.h>; the module has no name for it.
SO_TIMESTAMPNS = 35
RECEIVE_BUFFER = 8 * 1024 * 1024
RTP_HEADER = 12


class WirePeer:
    """Sends and receives whole RTP packets. `packets` holds those that came."""

    def __init__(self, dtls: Any, handle: int) -> None:
        self.handle = handle
        self.packets: list[bytes] = []
        self._dtls = dtls
        self._came = asyncio.Event()
        dtls._handle_rtp_data = self._take

    @classmethod
    async def connect(cls, sfu: Sfu, *, worker: int | None = None) -> Self:
        """Connected to a core, on one of its workers."""
        handle = sfu.add_peer(ice_ufrag=f"core{id(sfu) % 10_000}", ice_pwd=PWD, worker=worker)
        certificate = RTCCertificate.generateCertificate()
        gatherer = RTCIceGatherer(iceServers=[])
        await gatherer.gather()
        local = gatherer.getLocalParameters()
        assert local.usernameFragment
        assert local.password
        digest = bytes.fromhex(certificate.getFingerprints()[0].value.replace(":", ""))
        sfu.set_remote(handle, ice_ufrag=local.usernameFragment, ice_pwd=local.password, fingerprints=[digest])
        ice = RTCIceTransport(gatherer)
        ice._connection.ice_controlling = True
        for ip, port in sfu.candidates(handle):
            await ice.addRemoteCandidate(
                RTCIceCandidate(component=1, foundation="1", ip=ip, port=port, priority=1, protocol="udp", type="host")
            )
        dtls: Any = RTCDtlsTransport(ice, [certificate])
        peer = cls(dtls, handle)
        dtls._set_role("client")
        remote = RTCIceParameters(usernameFragment=f"core{id(sfu) % 10_000}", password=PWD, iceLite=True)
        await asyncio.wait_for(ice.start(remote), PATIENCE)
        fingerprint = RTCDtlsFingerprint(algorithm="sha-256", value=sfu.fingerprint)
        await asyncio.wait_for(dtls.start(RTCDtlsParameters(fingerprints=[fingerprint], role="server")), PATIENCE)
        assert dtls.state == "connected"
        return peer

    async def send(self, payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> None:
        """One RTP packet (RFC 3550 section 5.1) without extensions."""
        header = struct.pack("!BBHII", 0x80, payload_type, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, ssrc)
        await self._dtls._send_rtp(header + payload)

    def watch(self) -> list[tuple[int, int]]:
        """Packets are not decrypted from now on: the list has number and time of each, as the kernel took it, in ns."""
        arrivals: list[tuple[int, int]] = []
        loop: Any = asyncio.get_running_loop()
        pair = self._dtls.transport._connection._nominated[1]
        socket_ = pair.protocol.transport.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        socket_.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        descriptor = socket_.fileno()

        def drain() -> None:
            with socket.socket(fileno=os.dup(descriptor)) as own:
                while True:
                    try:
                        data, control, _, _ = own.recvmsg(2_048, 64, socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        return
                    # RTP, and no RTCP (RFC 5761 section 4).
                    if len(data) > RTP_HEADER and data[0] >> 6 == 2 and not 192 <= data[1] <= 223:
                        seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
                        arrivals.append((int.from_bytes(data[2:4], "big"), seconds * 10**9 + nanoseconds))

        loop._remove_reader(descriptor)
        loop._add_reader(descriptor, drain)
        return arrivals

    async def until(self, done: Callable[[Self], bool]) -> None:
        """Waits until what came is enough."""
        async with asyncio.timeout(PATIENCE):
            while not done(self):
                self._came.clear()
                await self._came.wait()

    async def close(self) -> None:
        await self._dtls.stop()
        await self._dtls.transport.stop()

    async def _take(self, data: bytes, arrival_time_ms: int) -> None:
        self.packets.append(data)
        self._came.set()
