//! Protecting and unprotecting media allocates nothing.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod counting;

use pysfu_engine::event::SrtpProfile;
use pysfu_engine::srtp::{MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD, SrtpReceiver, SrtpSender, key_lengths};

use counting::allocations;

#[test]
fn srtp_allocates_nothing_per_packet() {
    for profile in [
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80,
    ] {
        let (key, salt) = key_lengths(profile);
        let (key, salt) = (&[1; 32][..key], &[2; 14][..salt]);
        let mut sender = SrtpSender::new(profile, key, salt).unwrap();
        let mut receiver = SrtpReceiver::new(profile, key, salt).unwrap();
        let mut packet = [0; 1_200 + MAX_RTP_OVERHEAD];
        let mut rtcp = [0; 28 + MAX_RTCP_OVERHEAD];
        let mut out = [0; 1_200];
        let mut round = |index: u64| {
            packet[0] = 0x80;
            packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            let len = sender.protect_rtp(&mut packet, 12, 1_200, index).unwrap();
            if index.is_multiple_of(2) {
                receiver.unprotect_rtp(&mut packet[..len], 12).unwrap();
            } else {
                receiver.unprotect_rtp_into(&packet[..len], 12, &mut out).unwrap();
            }
            let len = sender.protect_rtcp(&mut rtcp, 28).unwrap();
            receiver.unprotect_rtcp(&mut rtcp[..len]).unwrap();
        };
        round(0);
        let taken = allocations(|| (1..70_000).for_each(&mut round));
        assert_eq!(taken, 0, "{profile:?}");
    }
    assert_eq!(allocations(|| drop(vec![1])), 1, "the counter counts");
}
