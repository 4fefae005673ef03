//! A published track: what a peer sends, layer by layer.

pub(crate) mod facts;
pub(crate) mod keyframe;
pub mod layer;
pub(crate) mod liveness;
pub(crate) mod mirror;
pub(crate) mod nack;
pub mod rates;
pub(crate) mod receive;
pub mod ring;
pub(crate) mod speaker;
pub mod track;
pub(crate) mod voids;
pub(crate) mod wishes;
