#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| podcert_fuzz::protobuf(data));
