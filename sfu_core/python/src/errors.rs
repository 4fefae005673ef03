//! The one place where errors of the core become Python exceptions.

use io::{CommandError, StartError};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::prelude::*;

create_exception!(_core, CoreError, PyException, "Base of what the core raises.");
create_exception!(
    _core,
    BindError,
    CoreError,
    "A media socket could not be opened. `args` is (address, port, reason)."
);
create_exception!(
    _core,
    QueueFullError,
    CoreError,
    "A worker does not keep up with commands; try again later."
);
create_exception!(
    _core,
    WorkerFailedError,
    CoreError,
    "The worker that held this object has failed."
);
create_exception!(
    _core,
    UnknownIdError,
    CoreError,
    "No such peer, track, subscription or link."
);
create_exception!(
    _core,
    SrtpError,
    CoreError,
    "A packet is malformed, forged or replayed, or a key has the wrong length."
);

pub(crate) fn start(error: StartError) -> PyErr {
    match error {
        StartError::Bind { address, reason } => {
            BindError::new_err((address.ip().to_string(), address.port(), reason.to_string()))
        }
        StartError::Settings(what) => PyValueError::new_err(what),
        StartError::Identity(what) => CoreError::new_err(what),
        StartError::System(error) => PyOSError::new_err(error.to_string()),
    }
}

pub(crate) fn command(error: CommandError) -> PyErr {
    let text = error.to_string();
    match error {
        CommandError::QueueFull => QueueFullError::new_err(text),
        CommandError::WorkerFailed => WorkerFailedError::new_err(text),
        CommandError::UnknownPeer
        | CommandError::UnknownTrack
        | CommandError::UnknownSubscription
        | CommandError::UnknownWorker
        | CommandError::UnknownLink => UnknownIdError::new_err(text),
        CommandError::LinkExists | CommandError::OtherWorker | CommandError::Unreachable => PyValueError::new_err(text),
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("CoreError", py.get_type::<CoreError>())?;
    module.add("BindError", py.get_type::<BindError>())?;
    module.add("QueueFullError", py.get_type::<QueueFullError>())?;
    module.add("WorkerFailedError", py.get_type::<WorkerFailedError>())?;
    module.add("UnknownIdError", py.get_type::<UnknownIdError>())?;
    module.add("SrtpError", py.get_type::<SrtpError>())
}
