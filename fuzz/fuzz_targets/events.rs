#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| donjon_fuzz_targets::events(data));
