//! Client code of the control plane's protos, compiled without a protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../protos";
    println!("cargo:rerun-if-changed={root}");
    let files = protox::compile(["pysfu/v1/signaling.proto", "pysfu/v1/rooms.proto"], [root])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
