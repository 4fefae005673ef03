//! The parts together: what encoders make, decoders recover; and how streams fare on paths that lose.

mod coding;
pub(in crate::fec) mod path;
