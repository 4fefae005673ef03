//! What the core logs, for Python's logging.

use io::{LogValue, Logs};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tracing::Level;

use crate::convert::invalid;

/// Level, module, message, fields, and how many of the same place were held back before.
type Row<'py> = (&'static str, String, String, Bound<'py, PyDict>, u64);

#[pyfunction]
pub(crate) fn set_log_level(level: &str) -> PyResult<()> {
    let least = match level {
        "off" => None,
        "error" => Some(Level::ERROR),
        "warning" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        _ => return Err(invalid(format!("unknown level {level:?}"))),
    };
    Logs::global()?.set_level(least);
    Ok(())
}

#[pyfunction]
pub(crate) fn log_fileno() -> PyResult<i32> {
    Ok(Logs::global()?.fd())
}

#[pyfunction]
pub(crate) fn poll_logs(py: Python<'_>) -> PyResult<Vec<Row<'_>>> {
    let rows = Logs::global()?.take().into_iter().map(|record| {
        let fields = PyDict::new(py);
        for (name, value) in record.fields {
            let value = match value {
                LogValue::Bool(value) => value.into_bound_py_any(py),
                LogValue::Signed(value) => value.into_bound_py_any(py),
                LogValue::Unsigned(value) => value.into_bound_py_any(py),
                LogValue::Float(value) => value.into_bound_py_any(py),
                LogValue::Text(value) => value.into_bound_py_any(py),
            };
            fields.set_item(name, value?)?;
        }
        let level = match record.level {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        Ok((
            level,
            record.target.replace("::", "."),
            record.message,
            fields,
            record.suppressed,
        ))
    });
    rows.collect()
}
