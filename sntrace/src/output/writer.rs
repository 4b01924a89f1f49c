//! Where output goes: a file, stderr or stdout, behind one large buffer.
//!
//! A record is appended to [`Writer::buffer`] and closed with [`Writer::end_record`], which
//! writes only when 256 KiB have gathered; [`Writer::flush`] writes what there is. So a busy
//! program costs a system call per some thousand lines, and a quiet one shows each line at once,
//! as long as the owner flushes after every batch.
//!
//! The disk may fill up and a reader may go away while the program runs. The first error is
//! returned as [`OutputError::Write`] with the count of events that did not arrive, and the
//! writer is closed by it. Each record must hold exactly one newline, at its end: this is how the
//! count stays exact when a write was cut in the middle.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use super::escape;

/// A write is worth its system call from here on.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why output cannot be written, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Before the program started.
    #[error("cannot write '{destination}': {}", crate::messages::reason(source))]
    Open {
        /// The path as given, escaped.
        destination: String,
        /// The system's reason.
        source: io::Error,
    },
    /// While it ran.
    #[error("cannot write to {destination} any more: {}; {} missing there", crate::messages::reason(source), events(*lost))]
    Write {
        /// `'path'`, `standard output` or `standard error`.
        destination: String,
        /// The system's reason.
        source: io::Error,
        /// Events that did not arrive there whole.
        lost: u64,
    },
}

fn events(lost: u64) -> String {
    match lost {
        0 => "its end is".into(),
        1 => "1 event is".into(),
        _ => format!("{lost} events are"),
    }
}

impl OutputError {
    /// What the user can do, as a line of its own.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            OutputError::Open { source, .. } => match source.kind() {
                ErrorKind::NotFound => Some("create its folder first, or name a file elsewhere"),
                ErrorKind::IsADirectory => Some("name a file in that folder"),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    Some("name a file in a folder that you may write to")
                }
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    Some("free some space, or name a file on another disk")
                }
                _ => None,
            },
            OutputError::Write { source, lost, .. } => match source.kind() {
                // Not a sequence of events: a page, an export.
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded if *lost == 0 => {
                    Some("free some space, or name a file on another disk")
                }
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(
                    "free some space, name a file on another disk, or see fewer events with --filter",
                ),
                _ => None,
            },
        }
    }

    /// Whether a reader went away (`sntrace ... | head`): that loses output, but no one wanted it.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, OutputError::Write { source, .. } if source.kind() == ErrorKind::BrokenPipe)
    }

    /// Counts one more event that did not arrive.
    pub(super) fn lose(&mut self) {
        if let OutputError::Write { lost, .. } = self {
            *lost += 1;
        }
    }
}

/// Creates the file at `path`, or empties it.
///
/// # Errors
/// [`OutputError::Open`] when that can't be done.
pub fn create(path: &Path) -> Result<File, OutputError> {
    let open = || {
        // Windows would say that access is denied, which sends people looking for the wrong cause.
        if path.is_dir() {
            return Err(io::Error::from(ErrorKind::IsADirectory));
        }
        // The superuser may open a file that no one may write; whether it then takes what is
        // written shows only while the program runs (a file of /proc takes nothing). Whoever
        // made it read-only meant it, so it is refused to everyone alike.
        if path
            .metadata()
            .is_ok_and(|metadata| metadata.permissions().readonly())
        {
            return Err(io::Error::from(ErrorKind::PermissionDenied));
        }
        File::create(path)
    };
    open().map_err(|source| OutputError::Open {
        destination: escape::shown(&escape::lossy(path.as_os_str().as_encoded_bytes())),
        source,
    })
}

/// A buffered destination.
pub struct Writer {
    destination: String,
    inner: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// Records in the buffer.
    pending: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// To the file at `path`, created or emptied; `-` is stdout. Call it before the program
    /// starts: then a bad path costs nothing.
    ///
    /// # Errors
    /// [`OutputError::Open`] when the file cannot be created.
    pub fn open(path: &Path) -> Result<Writer, OutputError> {
        if path == Path::new("-") {
            return Ok(Writer::stdout());
        }
        let file = create(path)?;
        let shown = escape::shown(&escape::lossy(path.as_os_str().as_encoded_bytes()));
        Ok(Writer::new(format!("'{shown}'"), file))
    }

    /// To standard output.
    #[must_use]
    pub fn stdout() -> Writer {
        Writer::new("standard output".into(), io::stdout())
    }

    /// To standard error.
    #[must_use]
    pub fn stderr() -> Writer {
        Writer::new("standard error".into(), io::stderr())
    }

    /// To anything else; `destination` is how messages call it.
    pub fn new(destination: String, inner: impl Write + Send + 'static) -> Writer {
        Writer {
            destination,
            inner: Box::new(inner),
            // Somewhat more than the limit, so that the record that passes it rarely grows it.
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
            pending: 0,
        }
    }

    /// Where to append a record.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Says that the record is complete.
    ///
    /// # Errors
    /// [`OutputError::Write`] when the buffer was full and could not be written.
    #[inline]
    pub fn end_record(&mut self) -> Result<(), OutputError> {
        self.pending += 1;
        self.relieve()
    }

    /// Writes the buffer out if it is full: for output that is no record.
    ///
    /// # Errors
    /// [`OutputError::Write`] when it could not be written.
    #[inline]
    pub fn relieve(&mut self) -> Result<(), OutputError> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes the buffer out.
    ///
    /// # Errors
    /// [`OutputError::Write`] when it could not be written.
    pub fn flush(&mut self) -> Result<(), OutputError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        let result = loop {
            if written == self.buffer.len() {
                break self.inner.flush();
            }
            match self.inner.write(&self.buffer[written..]) {
                Ok(0) => break Err(io::Error::from(ErrorKind::WriteZero)),
                Ok(count) => written += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // A program that shares our terminal or pipe may have made it non-blocking
                    // for everyone (O_NONBLOCK is a property of the open file, not of a process).
                    ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                    _ => break Err(error),
                },
            }
        };
        let rest = &self.buffer[written..];
        let unfinished = rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let lost = self.pending.min(unfinished);
        self.buffer.clear();
        self.pending = 0;
        result.map_err(|source| OutputError::Write {
            destination: self.destination.clone(),
            source,
            lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, at most seven a call, then is full.
    struct Small {
        room: usize,
    }

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::Error::from(ErrorKind::StorageFull));
            }
            let count = bytes.len().min(7).min(self.room);
            self.room -= count;
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ten_records_into(room: usize) -> Result<(), OutputError> {
        let mut writer = Writer::new("'x'".into(), Small { room });
        for _ in 0..10 {
            writer.buffer().extend_from_slice(b"12345\n");
            writer.end_record()?;
        }
        writer.flush()
    }

    #[test]
    fn the_count_of_lost_events_is_exact_where_a_write_was_cut() {
        assert!(ten_records_into(60).is_ok());
        // 60 bytes are needed: (room, whole records that fit).
        for (room, whole) in [(59, 9), (54, 9), (53, 8), (6, 1), (5, 0), (0, 0)] {
            match ten_records_into(room) {
                Err(OutputError::Write { lost, .. }) => assert_eq!(lost, 10 - whole, "room {room}"),
                other => panic!("room {room}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_missing() {
        let error = ten_records_into(53).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write to 'x' any more: "),
            "{error}"
        );
        assert!(
            error.to_string().ends_with("; 2 events are missing there"),
            "{error}"
        );
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_path_that_cannot_be_written_fails_at_opening_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = Writer::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        assert_eq!(error.hint(), Some("name a file in that folder"));

        let nowhere = folder.path().join("no\x1bsuch/file");
        let error = Writer::open(&nowhere).unwrap_err();
        assert!(error.to_string().contains("no\\x1bsuch"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_file_is_emptied_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "what was there before").unwrap();
        let mut writer = Writer::open(&path).unwrap();
        writer.buffer().extend_from_slice(b"new\n");
        writer.end_record().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"", "buffered");
        writer.flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    }

    #[test]
    fn a_read_only_file_is_refused_to_the_superuser_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        std::fs::write(&path, "as it was").unwrap();
        let mut permissions = path.metadata().unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&path, permissions).unwrap();
        let error = Writer::open(&path).unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"as it was");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_without_room_is_an_error_of_the_flush() {
        let mut writer = Writer::open(Path::new("/dev/full")).unwrap();
        writer.buffer().extend_from_slice(b"line\n");
        writer.end_record().unwrap();
        match writer.flush() {
            Err(OutputError::Write {
                source, lost: 1, ..
            }) => {
                assert_eq!(source.kind(), ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
    }
}
