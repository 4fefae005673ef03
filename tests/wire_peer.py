"""A client of one core without SDP: ICE and DTLS of aiortc, RTP by hand."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Self

from aiortc import RTCCertificate, RTCIceCandidate, RTCIceGatherer, RTCIceParameters, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from pysfu import Sfu

PWD = "p" * 24
PATIENCE = 15.0


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
