//! Files that are cut, changed, or no traces.

use super::*;

#[test]
fn a_cut_file_opens_up_to_its_last_whole_chunk() {
    let whole = small();
    let (all, result) = items(&open(&whole).unwrap());
    result.unwrap();
    let mut most = 0;
    for length in 0..whole.len() {
        let file = match open(&whole[..length]) {
            Ok(file) => file,
            Err(TraceError::Foreign { what, .. }) => {
                assert_eq!((length, what.as_str()), (0, "it is empty"));
                continue;
            }
            Err(TraceError::Damaged { what, .. }) => {
                // Nothing was recorded yet, and that is what it says.
                assert!(what.starts_with("it ends inside its "), "{length}: {what}");
                assert_eq!(most, 0, "{length}");
                continue;
            }
            Err(error) => panic!("{length}: {error}"),
        };
        let cut = file.cut().expect("it is cut");
        assert_eq!(cut.length, length as u64);
        assert!(cut.read_to <= cut.length);
        assert!(!file.certificate().complete);
        let (some, result) = items(&file);
        result.unwrap();
        assert_eq!(some, all[..some.len()], "{length}");
        assert!(some.len() >= most, "{length}");
        most = some.len();
        let events = some.iter().filter(|item| matches!(item, Item::Event(_)));
        assert_eq!(file.certificate().events, events.count() as u64);
        assert_eq!(file.header(), &header());
    }
    assert_eq!(most, all.len());
}

#[test]
fn a_cut_file_says_that_names_are_missing() {
    let whole = small();
    let symbols = whole.windows(4).position(|tag| tag == b"SYMB").unwrap();
    let file = open(&whole[..symbols + 5]).unwrap();
    assert!(file.cut().unwrap().without_names);
    assert_eq!(file.cut().unwrap().read_to, symbols as u64);
    assert_eq!(file.certificate().unnamed_sites, 2);
    assert_eq!(file.certificate().truncated_stacks, 1);
    let name = file.tables().function_name(SiteId(1), 0);
    assert_eq!(name, "program+0x1234");
    let blemishes = file.certificate().blemishes();
    assert!(blemishes.contains(&"the trace was cut before its end".into()));
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    let whole = small();
    let sound = open(&whole).unwrap();
    let (all, _) = items(&sound);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(file) = open(&flipped) else { continue };
        let (some, result) = items(&file);
        assert_eq!(some, all[..some.len()], "bit {bit}");
        if result.is_ok() {
            assert_eq!(some.len(), all.len(), "bit {bit}");
            assert_eq!(file.tables().sites, sound.tables().sites, "bit {bit}");
            assert_eq!(file.certificate(), sound.certificate(), "bit {bit}");
        }
    }
}

#[test]
fn damage_is_told_with_its_place() {
    let mut changed = small();
    let events = changed.windows(4).position(|tag| tag == b"EVNT").unwrap();
    changed[events + 20] ^= 1;
    let (_, result) = items(&open(&changed).unwrap());
    let told = result.unwrap_err().to_string();
    let expected = format!("'a.snt' is damaged at byte {events}: its checksum is wrong");
    assert_eq!(told, expected);
}

#[test]
fn what_is_no_trace_of_this_version_is_told_so() {
    let told = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert_eq!(told(b""), "'a.snt' is no sntrace trace: it is empty");
    assert_eq!(
        told(b"{\"events\": []}"),
        "'a.snt' is no sntrace trace: it looks like JSON"
    );
    let mut newer = small();
    newer[8] = 9;
    assert_eq!(
        told(&newer),
        "'a.snt' has trace format 9, which this sntrace does not know"
    );
    newer[8] = 0;
    assert!(told(&newer).contains("damaged at byte 8"));
    let as_text: Vec<u8> = small().into_iter().filter(|&byte| byte != b'\r').collect();
    assert!(told(&as_text).contains("transfer as text"));
}

#[test]
fn a_file_that_is_not_there_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = TraceFile::open(&folder.path().join("no\n.snt")).unwrap_err();
    let told = error.to_string();
    assert!(told.starts_with("cannot read '"), "{told}");
    assert!(told.contains("no\\n.snt"), "{told}");
    let path = folder.path().join("a.snt");
    std::fs::write(&path, small()).unwrap();
    assert_eq!(items(&TraceFile::open(&path).unwrap()).0.len(), 11);
}

/// A writer whose output fails sooner or later.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_of_the_writer() {
    assert!(TraceWriter::new(Full(8), &header(), &Recorded::default()).is_err());
    let mut writer = TraceWriter::new(Full(300), &header(), &Recorded::default()).unwrap();
    writer.item(&Item::Event(MALLOC)).unwrap();
    let error = writer.finish(&[], &Certificate::default()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}
