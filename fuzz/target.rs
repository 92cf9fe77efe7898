//! Each of the targets of `luban-fuzz`, by the name of the program.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target = luban_fuzz::find(env!("CARGO_BIN_NAME")).expect("programs have the names of targets");
    let _ = target.run(input);
});
