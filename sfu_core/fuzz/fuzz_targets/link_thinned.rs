#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pysfu_fuzz::run("link_thinned", data));
