//! Messages of the pipe: a header and the record behind it, one after the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace_format::control::{BODY_MAX, body, parse};
use sntrace_format::pipe::{HEADER_WORDS, MESSAGE_WORDS_MAX, MessageHeader};
use sntrace_format::record::{Record, decode};

fuzz_target!(|data: &[u8]| {
    let (words, _) = data.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let mut rest = &words[..];
    while let Some((head, behind)) = rest.split_first_chunk::<HEADER_WORDS>() {
        let Some(header) = MessageHeader::from_words(*head) else {
            return;
        };
        assert_eq!(header.to_words(), *head);
        let length = header.words as usize;
        assert!(length > 0 && length <= MESSAGE_WORDS_MAX - HEADER_WORDS);
        let Some((record, behind)) = behind.split_at_checked(length) else {
            return;
        };
        if let Ok((Record::Control { kind, bytes, .. }, _)) = decode(record) {
            let _ = parse(kind, body(record, bytes, &mut [0; BODY_MAX + 8]));
        }
        rest = behind;
    }
});
