//! RTCP as it comes from the wire.

use wire::rtcp::{Packet, packets};

/// A whole compound packet.
pub(crate) fn compound(data: &[u8]) {
    // Four octets at least per packet: it always ends.
    assert!(packets(data).count() <= data.len() / 4 + 1);
    for packet in packets(data).flatten() {
        walk(packet, data.len());
    }
}

/// A packet whose header is right, so that mutations reach what is behind it: count, type, body.
pub(crate) fn body(data: &[u8]) {
    let Some((&[count, packet_type], body)) = data.split_first_chunk() else {
        return;
    };
    let words = body.len() / 4;
    let mut packet = vec![0x80 | (count & 0x1f), 200 + packet_type % 8];
    packet.extend((words as u16).to_be_bytes());
    packet.extend(&body[..words * 4]);
    if words <= usize::from(u16::MAX) {
        compound(&packet);
    }
}

fn walk(packet: Packet<'_>, len: usize) {
    match packet {
        Packet::SenderReport(report) => assert!(report.blocks().count() <= 31),
        Packet::ReceiverReport(report) => {
            for block in report.blocks() {
                assert!((-0x80_0000..0x80_0000).contains(&block.cumulative_lost));
            }
        }
        Packet::SourceDescription(description) => {
            for chunk in description.chunks() {
                assert!(chunk.cname.is_none_or(|name| name.len() < len));
            }
        }
        Packet::Goodbye(goodbye) => assert!(goodbye.sources().count() * 4 <= len),
        Packet::Nack(nack) => assert!((1..=len / 4 * 17).contains(&nack.sequences().count())),
        Packet::PictureLoss(_) => {}
        Packet::FullIntra(request) => assert!((1..=len / 8).contains(&request.entries().count())),
        Packet::TransportWide(feedback) => {
            let mut expected = None;
            for status in feedback.statuses() {
                assert!(expected.is_none_or(|sequence| sequence == status.sequence));
                expected = Some(status.sequence.wrapping_add(1));
            }
            assert!(expected.is_some());
        }
        Packet::CongestionControl(feedback) => {
            let metrics: usize = feedback.reports().map(|report| report.metrics().count()).sum();
            assert!(metrics * 2 <= len);
        }
        Packet::MaximumBitrate(limit) => assert!(limit.sources().count() <= 255),
    }
}
