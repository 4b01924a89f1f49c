//! The named pipe, read: messages of processes that share no memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sntrace_format::pipe::{HEADER_WORDS, MessageHeader};

/// The reading end.
pub struct PipeReader {
    file: File,
    /// Keeps the pipe open while no process has it, so that it never seems to end.
    _writer: File,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes that were no message.
    pub noise: u64,
}

impl PipeReader {
    /// Opens both ends of the pipe at `path`.
    ///
    /// # Errors
    /// What opening it gives.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        let writer = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Self {
            file,
            _writer: writer,
            buffer: vec![0; 1 << 20],
            filled: 0,
            noise: 0,
        })
    }

    /// Reads what is there, without waiting, and hands each message on as header and record
    /// words. Returns whether there was anything.
    ///
    /// # Errors
    /// What reading gives.
    pub fn read(&mut self, mut each: impl FnMut(MessageHeader, &[u64])) -> io::Result<bool> {
        let mut any = false;
        // A few reads at a time: other sources want their turn.
        for _ in 0..16 {
            match self.file.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    any = true;
                    self.filled += count;
                    self.take_messages(&mut each);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }

    fn take_messages(&mut self, each: &mut impl FnMut(MessageHeader, &[u64])) {
        let mut at = 0;
        let mut words = Vec::with_capacity(64);
        let word = |buffer: &[u8], at: usize| {
            buffer
                .get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_le_bytes)
        };
        while self.filled - at >= HEADER_WORDS * 8 {
            let mut head = [0; HEADER_WORDS];
            for (place, value) in head.iter_mut().enumerate() {
                *value = word(&self.buffer, at + place * 8).unwrap_or(0);
            }
            let Some(header) = MessageHeader::from_words(head) else {
                // Somebody else wrote into the pipe: look for the next message.
                self.noise += 1;
                at += 1;
                continue;
            };
            let length = (HEADER_WORDS + header.words as usize) * 8;
            if self.filled - at < length {
                break;
            }
            words.clear();
            for place in HEADER_WORDS..HEADER_WORDS + header.words as usize {
                words.push(word(&self.buffer, at + place * 8).unwrap_or(0));
            }
            each(header, &words);
            at += length;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
    }
}

impl PipeReader {
    /// Sleeps until there is something to read, at most `limit`.
    pub fn wait(&self, limit: std::time::Duration) {
        super::segment::wait_readable(&self.file, limit);
    }
}
