//! What the sockets and queues of one worker have seen since its start.

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// A row of 8-byte counters, as the rows of `engine::stats`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct IoRow { $($(#[$doc])* pub $field: u64,)* }

        impl IoRow {
            /// Name and numpy kind of each field, in order.
            pub const FIELDS: &'static [(&'static str, &'static str)] = &[$((stringify!($field), "u8"),)*];

            /// 8 bytes per field, native order.
            pub fn to_bytes(&self, into: &mut Vec<u8>) {
                $(into.extend_from_slice(&self.$field.to_ne_bytes());)*
            }
        }
    };
}

counters!(
    worker,
    wakeups,
    receive_calls,
    receive_messages,
    /// Datagrams longer than a receive buffer.
    receive_truncated,
    receive_errors,
    send_calls,
    send_messages,
    /// Messages that carried several datagrams.
    send_gso_messages,
    /// Messages lost to a full send buffer.
    send_dropped,
    /// Messages that the kernel refused: no route, filtered.
    send_errors,
    /// 1 while segmentation offload is in use.
    gso,
    /// Packets and reports lost because another worker's ring was full.
    crossings_dropped,
    /// Data messages lost because the control plane did not keep up.
    data_dropped,
    /// Events other than of life and death lost because the control plane did not keep up.
    events_dropped,
    /// Microseconds of the longest turn of the loop in the last statistics interval.
    longest_turn_us,
);
