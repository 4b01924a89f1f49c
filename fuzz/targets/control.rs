//! Control messages: the first byte is the kind, the rest the body. What is read must be read the
//! same after it was written again, unless it has strings longer than are written.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use sntrace_format::control::{
    BODY_MAX, BUILD_ID_MAX, CONTROL_WORDS_MAX, Control, body, parse, write_control,
};
use sntrace_format::record::{Record, decode};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else {
        return;
    };
    let Some(message) = parse(kind, bytes) else {
        return;
    };
    let slot = [const { AtomicU64::new(0) }; CONTROL_WORDS_MAX as usize];
    let written = write_control(&slot, 1, &message) as usize;
    let words = slot.map(|word| word.load(Ordering::Relaxed));
    let (record, length) = decode(&words[..written]).unwrap();
    assert_eq!(length, written);
    let Record::Control { kind, bytes, .. } = record else {
        panic!("a control message became {record:?}");
    };
    let mut out = [0; BODY_MAX + 8];
    let again = parse(kind, body(&words[..written], bytes, &mut out)).unwrap();
    let whole = match message {
        Control::Process {
            executable,
            command,
            ..
        } => executable.len() <= 1500 && command.len() <= 2300,
        Control::ModuleAdd { build_id, path, .. } => {
            build_id.len() <= BUILD_ID_MAX && path.len() <= 3800
        }
        Control::Exec { path, .. } => path.len() <= 3800,
        _ => true,
    };
    if whole {
        assert_eq!(again, message);
    }
});
