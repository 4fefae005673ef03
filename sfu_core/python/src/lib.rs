//! The Python module `pysfu._core`: a thin skin over `io`.

mod convert;
mod core;
mod errors;
mod logs;
mod srtp;

use engine::stats::{DownlinkRow, LayerRow, LinkRow, PeerRow, SubscriptionRow, WorkerRow};
use pyo3::prelude::*;
use pyo3::types::PyDict;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<core::Core>()?;
    module.add_class::<srtp::Srtp>()?;
    errors::register(module)?;
    module.add_function(wrap_pyfunction!(logs::set_log_level, module)?)?;
    module.add_function(wrap_pyfunction!(logs::log_fileno, module)?)?;
    module.add_function(wrap_pyfunction!(logs::poll_logs, module)?)?;
    let fields = PyDict::new(module.py());
    fields.set_item("workers", WorkerRow::FIELDS.to_vec())?;
    fields.set_item("peers", PeerRow::FIELDS.to_vec())?;
    fields.set_item("downlinks", DownlinkRow::FIELDS.to_vec())?;
    fields.set_item("layers", LayerRow::FIELDS.to_vec())?;
    fields.set_item("subscriptions", SubscriptionRow::FIELDS.to_vec())?;
    fields.set_item("links", LinkRow::FIELDS.to_vec())?;
    fields.set_item("io", io::IoRow::FIELDS.to_vec())?;
    module.add("STATS_FIELDS", fields)
}
