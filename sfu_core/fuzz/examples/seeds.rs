//! Writes the seeds into a folder, for a fuzzer to begin with.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "seeds".into()));
    std::fs::create_dir_all(&folder)?;
    for (index, seed) in pysfu_fuzz::seeds::seeds().iter().enumerate() {
        std::fs::write(folder.join(format!("{index:03}")), seed)?;
    }
    Ok(())
}
