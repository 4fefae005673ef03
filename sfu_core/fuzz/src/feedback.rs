//! Feedback of subscribers: what it says can be said again, and is bounded by its octets.

use wire::rtcp::{Packet, ccfb as congestion, packets, remb as limit, twcc as transport};

/// A packet of this type whose header is right, around the octets.
fn packet(format: u8, packet_type: u8, body: &[u8]) -> Vec<u8> {
    let words = (body.len() / 4).min(usize::from(u16::MAX));
    let mut packet = vec![0x80 | format, packet_type];
    packet.extend((words as u16).to_be_bytes());
    packet.extend(&body[..words * 4]);
    packet
}

pub(crate) fn twcc(data: &[u8]) {
    let whole = packet(15, 205, data);
    let Some(Ok(Packet::TransportWide(feedback))) = packets(&whole).next() else {
        return;
    };
    let statuses: Vec<_> = feedback.statuses().collect();
    assert!((1..=usize::from(u16::MAX)).contains(&statuses.len()) && feedback.reference < 1 << 24);
    // A wrap from zero, so that no arrival lies before it.
    let base = (i64::from(feedback.reference) + (1 << 24)) * 64_000;
    let arrivals = statuses
        .iter()
        .map(|status| status.arrival.map(|arrival| (base + arrival) as u64));
    let mut out = vec![0; 64 + statuses.len() * 4];
    let first = statuses[0].sequence;
    let Ok(written) = transport::write(&mut out, 1, 2, feedback.serial, first, arrivals.clone()) else {
        assert!(
            arrivals.flatten().next().is_none(),
            "nothing arrived, or it can be written"
        );
        return;
    };
    let Some(Ok(Packet::TransportWide(again))) = packets(&out[..written.len]).next() else {
        panic!("not transport-wide feedback");
    };
    let reference = i64::from(again.reference) * 64_000;
    let read = again
        .statuses()
        .map(|status| (status.sequence, status.arrival.map(|at| at + reference)));
    // The reference is 24 bits of what the writer was told.
    let told = statuses
        .iter()
        .zip(arrivals)
        .map(|(status, arrival)| (status.sequence, arrival));
    let first_of = |list: &[(u16, Option<i64>)]| list.iter().find_map(|(_, at)| *at).unwrap_or(0);
    let read: Vec<_> = read.collect();
    let told: Vec<_> = told
        .map(|(sequence, at)| (sequence, at.map(|at| at as i64)))
        .take(written.told)
        .collect();
    let shift = first_of(&told) - first_of(&read);
    assert_eq!(shift % (64_000 << 24), 0);
    let shifted: Vec<_> = read
        .iter()
        .map(|&(sequence, at)| (sequence, at.map(|at| at + shift)))
        .collect();
    assert_eq!(shifted, told);
}

pub(crate) fn ccfb(data: &[u8]) {
    let whole = packet(11, 205, data);
    let Some(Ok(Packet::CongestionControl(feedback))) = packets(&whole).next() else {
        return;
    };
    let reports = || {
        feedback.reports().map(|report| {
            let metrics: Vec<_> = report.metrics().map(|(_, metric)| metric).collect();
            (report.ssrc, report.first, metrics)
        })
    };
    for report in feedback.reports() {
        for (index, (sequence, metric)) in report.metrics().enumerate() {
            assert_eq!(sequence, report.first.wrapping_add(index as u16));
            assert!(metric.is_none_or(|metric| metric.ecn < 4 && metric.offset < 1 << 13));
        }
    }
    let mut out = vec![0; whole.len()];
    let len = congestion::write(&mut out, feedback.sender_ssrc, feedback.timestamp, reports()).unwrap();
    assert_eq!(len, whole.len());
    let Some(Ok(Packet::CongestionControl(again))) = packets(&out).next() else {
        panic!("not congestion control feedback");
    };
    assert_eq!(
        (again.sender_ssrc, again.timestamp),
        (feedback.sender_ssrc, feedback.timestamp)
    );
    let read = again.reports().map(|report| {
        let metrics: Vec<_> = report.metrics().map(|(_, metric)| metric).collect();
        (report.ssrc, report.first, metrics)
    });
    assert!(read.eq(reports()));
}

pub(crate) fn remb(data: &[u8]) {
    let mut body = data.to_vec();
    if let Some(identifier) = body.get_mut(8..12) {
        identifier.copy_from_slice(b"REMB");
    }
    let whole = packet(15, 206, &body);
    let Some(Ok(Packet::MaximumBitrate(found))) = packets(&whole).next() else {
        return;
    };
    assert!(found.sources().count() * 4 <= whole.len());
    let mut out = vec![0; whole.len()];
    let len = limit::write(&mut out, found.sender_ssrc, found.bitrate, found.sources()).unwrap();
    let Some(Ok(Packet::MaximumBitrate(again))) = packets(&out[..len]).next() else {
        panic!("not a bitrate limit");
    };
    assert_eq!((again.sender_ssrc, again.bitrate), (found.sender_ssrc, found.bitrate));
    assert!(again.sources().eq(found.sources()));
}
