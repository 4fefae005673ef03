//! Links as the command line gives them.

use std::path::PathBuf;

use pysfu_netem::{ConfigError, LinkConfig, Opportunities, OpportunitiesError, profiles};
use serde_json::Value;

use crate::Emulation;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no profile is called {0}; `pysfu-netem profiles` lists them")]
    NoProfile(String),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Mahimahi(PathBuf, OpportunitiesError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Config(#[from] ConfigError),
}

/// Down and up.
pub(crate) fn links(options: &Emulation) -> Result<[LinkConfig; 2], Error> {
    let [down, up] = match &options.profile {
        None => [LinkConfig::default(), LinkConfig::default()],
        Some(name) => {
            let profile = profiles::named(name, options.seed).ok_or_else(|| Error::NoProfile(name.clone()))?;
            [profile.down, profile.up]
        }
    };
    Ok([
        options.down.as_deref().map(link).transpose()?.unwrap_or(down),
        options.up.as_deref().map(link).transpose()?.unwrap_or(up),
    ])
}

/// JSON where it begins with a brace, the name of a file otherwise.
fn link(text: &str) -> Result<LinkConfig, Error> {
    let config: LinkConfig = if text.trim_start().starts_with('{') {
        parse(text)?
    } else {
        let path = PathBuf::from(text);
        parse(&std::fs::read_to_string(&path).map_err(|error| Error::File(path, error))?)?
    };
    config.check()?;
    Ok(config)
}

/// Where JSON says `{"mahimahi": "FILE"}`, the trace of that file stands.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    let mut value: Value = serde_json::from_str(text)?;
    read_traces(&mut value)?;
    Ok(serde_json::from_value(value)?)
}

fn read_traces(value: &mut Value) -> Result<(), Error> {
    if let Some(Value::String(name)) = value.get("mahimahi") {
        let path = PathBuf::from(name);
        let text = std::fs::read_to_string(&path).map_err(|error| Error::File(path.clone(), error))?;
        let trace = Opportunities::parse_mahimahi(&text).map_err(|error| Error::Mahimahi(path, error))?;
        let times: Vec<f64> = trace.times().map(|time| time.as_secs_f64() * 1e3).collect();
        *value = serde_json::json!({ "opportunities_ms": times });
        return Ok(());
    }
    match value {
        Value::Object(members) => members.values_mut().try_for_each(read_traces),
        Value::Array(elements) => elements.iter_mut().try_for_each(read_traces),
        _ => Ok(()),
    }
}
