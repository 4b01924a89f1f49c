//! A document that is read from its beginning on, a piece at a time.
//!
//! What is wanted is parsed in the piece that is in memory; where that ends too early, more is read
//! behind it and the value begun again ([`Stream::parse`]), each time twice as much, so that a long value
//! takes no longer than its length. What is not wanted goes by in pieces, however long it is
//! ([`Stream::skip`]).

use super::cursor::{Cursor, Fault};
use super::nesting::{NO_PAIR, Nesting, TOO_DEEP};
use crate::trace::TraceError;
use crate::trace::source::Source;

/// Read at a time, in bytes: as much as a processor's second cache holds beside other things.
const PIECE_BYTES: usize = 256 * 1024;
/// The longest value that is read as a whole, in bytes: a row, an event. These take some kilobytes; the
/// longest command line that Linux starts takes two megabytes, and six times that if all of it is escaped.
const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream<'s> {
    source: &'s Source,
    /// Escaped, for errors.
    path: &'s str,
    /// What was read and is still needed.
    held: Vec<u8>,
    /// How much of `held` was consumed.
    start: usize,
    /// Where in the document `held` begins.
    offset: u64,
}

/// What comes after an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Another,
    End,
}

impl<'s> Stream<'s> {
    /// From this offset on.
    pub fn new(source: &'s Source, path: &'s str, offset: u64) -> Self {
        Self {
            source,
            path,
            held: Vec::new(),
            start: 0,
            offset,
        }
    }

    /// Offset of what comes next.
    pub fn position(&self) -> u64 {
        self.offset + self.start as u64
    }

    fn rest(&self) -> &[u8] {
        self.held.get(self.start..).unwrap_or(&[])
    }

    /// Reads more behind what is held and not yet consumed. False: there is no more.
    fn more(&mut self) -> Result<bool, TraceError> {
        self.held.drain(..self.start);
        self.offset += self.start as u64;
        self.start = 0;
        let end = self.offset + self.held.len() as u64;
        let left = self.source.length().saturating_sub(end);
        if left == 0 {
            return Ok(false);
        }
        if self.held.len() > VALUE_BYTES_MAX {
            return Err(self.damaged(self.offset, "a value is longer than any writer makes it"));
        }
        let wanted = PIECE_BYTES.max(self.held.len()) as u64;
        let read = self
            .source
            .append(end, wanted.min(left) as usize, &mut self.held);
        read.map(|()| true)
            .map_err(|source| TraceError::Unreadable {
                path: self.path.to_owned(),
                source,
            })
    }

    /// Reads something. `read` is called again, with more, where the piece is too short.
    #[inline]
    pub fn parse<T>(
        &mut self,
        mut read: impl FnMut(&mut Cursor<'_>) -> Result<T, Fault>,
    ) -> Result<T, TraceError> {
        loop {
            let mut cursor = Cursor::new(self.rest());
            match read(&mut cursor) {
                Ok(value) => {
                    self.start += cursor.at();
                    return Ok(value);
                }
                Err(fault) => self.recover(fault)?,
            }
        }
    }

    /// After this the same may be tried again.
    #[cold]
    fn recover(&mut self, fault: Fault) -> Result<(), TraceError> {
        match fault {
            Fault::Wrong(at, what) => Err(self.damaged(self.position() + at as u64, what)),
            Fault::Short => match self.more()? {
                true => Ok(()),
                false => Err(self.cut()),
            },
        }
    }

    /// The next byte that is not blank; `None` at the document's end.
    pub fn peek(&mut self) -> Result<Option<u8>, TraceError> {
        loop {
            let mut cursor = Cursor::new(self.rest());
            match cursor.peek() {
                Ok(byte) => {
                    self.start += cursor.at();
                    return Ok(Some(byte));
                }
                // Nothing but blanks.
                Err(_) => {
                    self.start = self.held.len();
                    if !self.more()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The next value as it stands, and its offset.
    pub fn value(&mut self) -> Result<(u64, &[u8]), TraceError> {
        // What was not there to be passed over may be anything; blanks before the value are not wanted.
        self.peek()?;
        let length = self.parse(|cursor| {
            cursor.skip_value()?;
            Ok(cursor.at())
        })?;
        let end = self.start;
        let value = self.held.get(end.saturating_sub(length)..end);
        let offset = self.offset + end.saturating_sub(length) as u64;
        Ok((offset, value.unwrap_or(&[])))
    }

    /// Begins an array. [`After::End`]: it is empty, and has been read.
    pub fn begin_array(&mut self) -> Result<After, TraceError> {
        self.parse(|cursor| {
            cursor.expect(b'[', "there is no array where one has to be")?;
            match cursor.skip(b']')? {
                true => Ok(After::End),
                false => Ok(After::Another),
            }
        })
    }

    /// Passes over the comma between two elements of an array, or its end.
    #[inline]
    pub fn after_element(&mut self) -> Result<After, TraceError> {
        self.parse(after_element)
    }

    /// Passes over an array, however long it is. Returns how many elements it has.
    pub fn skip_array(&mut self) -> Result<u64, TraceError> {
        match self.begin_array()? {
            After::End => Ok(0),
            After::Another => self.skip_open(b'[').map(|commas| commas + 1),
        }
    }

    /// Passes over a value, however long it is.
    pub fn skip(&mut self) -> Result<(), TraceError> {
        match self.peek()? {
            Some(open @ (b'[' | b'{')) => {
                self.start += 1;
                self.skip_open(open).map(|_| ())
            }
            _ => self.value().map(|_| ()),
        }
    }

    /// Passes over the rest of an array or object that is open. Returns how many commas it has.
    fn skip_open(&mut self, open: u8) -> Result<u64, TraceError> {
        let mut skipping = Skipping::new(open);
        loop {
            match skipping.feed(self.rest()) {
                Ok(Some(length)) => {
                    self.start += length;
                    return Ok(skipping.commas);
                }
                Ok(None) => {
                    self.start = self.held.len();
                    if !self.more()? {
                        return Err(self.cut());
                    }
                }
                Err(fault) => self.recover(fault)?,
            }
        }
    }

    pub fn damaged(&self, at: u64, what: impl Into<String>) -> TraceError {
        TraceError::Damaged {
            path: self.path.to_owned(),
            at,
            what: what.into(),
        }
    }

    fn cut(&self) -> TraceError {
        self.damaged(
            self.source.length(),
            "it ends before its last bracket, so it was cut, and what stands at its end (stacks and names) \
             is missing",
        )
    }
}

/// Passes over the comma between two elements of an array, or its end.
#[inline]
pub(super) fn after_element(cursor: &mut Cursor<'_>) -> Result<After, Fault> {
    match cursor.peek()? {
        b',' => cursor.expect(b',', "").map(|()| After::Another),
        b']' => cursor.expect(b']', "").map(|()| After::End),
        _ => cursor.wrong("there is neither a comma nor an end behind an element"),
    }
}

/// Where the passing over of a value stands, between two pieces of it.
struct Skipping {
    nesting: Nesting,
    in_string: bool,
    /// The byte before was the backslash of an escape.
    escaped: bool,
    /// Between the elements of the value itself.
    commas: u64,
}

/// What is to be done about a byte outside of strings.
const PASS: u8 = 0;
const QUOTE: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;
const COMMA: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [PASS; 256];
    classes[b'"' as usize] = QUOTE;
    classes[b'{' as usize] = OPEN;
    classes[b'[' as usize] = OPEN;
    classes[b'}' as usize] = CLOSE;
    classes[b']' as usize] = CLOSE;
    classes[b',' as usize] = COMMA;
    classes
};

impl Skipping {
    fn new(open: u8) -> Self {
        let mut nesting = Nesting::default();
        nesting.open(open);
        Self {
            nesting,
            in_string: false,
            escaped: false,
            commas: 0,
        }
    }

    /// Goes through a piece. Returns where the value ends in it, if it does.
    fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>, Fault> {
        let mut bytes = piece.iter();
        let at = |bytes: &std::slice::Iter<'_, u8>| piece.len() - bytes.len();
        loop {
            if self.in_string && !self.pass_string(&mut bytes) {
                return Ok(None);
            }
            let Some(&byte) = bytes.find(|&&byte| CLASSES[usize::from(byte)] != PASS) else {
                return Ok(None);
            };
            match CLASSES[usize::from(byte)] {
                QUOTE => self.in_string = true,
                COMMA => self.commas += u64::from(self.nesting.depth() == 1),
                OPEN if !self.nesting.open(byte) => {
                    return Err(Fault::Wrong(at(&bytes) - 1, TOO_DEEP));
                }
                CLOSE => match self.nesting.close(byte) {
                    None => return Err(Fault::Wrong(at(&bytes) - 1, NO_PAIR)),
                    Some(0) => return Ok(Some(at(&bytes))),
                    Some(_) => {}
                },
                _ => {}
            }
        }
    }

    /// Goes to behind the quote that ends a string; false where the piece ends before.
    #[inline]
    fn pass_string(&mut self, bytes: &mut std::slice::Iter<'_, u8>) -> bool {
        if self.escaped {
            self.escaped = bytes.next().is_none();
        }
        while let Some(&byte) = bytes.find(|&&byte| byte == b'"' || byte == b'\\') {
            if byte == b'"' {
                self.in_string = false;
                return true;
            }
            self.escaped = bytes.next().is_none();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commas(text: &str, cut: usize) -> Result<Option<(u64, usize)>, Fault> {
        let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
        let mut skipping = Skipping::new(b'[');
        if let Some(length) = skipping.feed(first)? {
            return Ok(Some((skipping.commas, length)));
        }
        let length = skipping.feed(second)?;
        Ok(length.map(|length| (skipping.commas, first.len() + length)))
    }

    proptest! {
        #[test]
        fn elements_are_counted_wherever_a_piece_ends(
            texts in prop::collection::vec("[\\]\\[{}\",\\\\a]{0,6}", 1..5),
            cut in 0..80_usize,
        ) {
            let whole = serde_json::json!(texts).to_string();
            let inside = format!("{} behind", &whole[1..]);
            let expected = (texts.len() as u64 - 1, whole.len() - 1);
            prop_assert_eq!(commas(&inside, cut), Ok(Some(expected)));
        }
    }

    #[test]
    fn a_value_longer_than_a_piece_is_read_as_a_whole() {
        let text = "x".repeat(3 * PIECE_BYTES);
        let document = format!("  [ \"{text}\" , 7]");
        let source = Source::from_bytes(document.clone().into_bytes());
        let mut stream = Stream::new(&source, "a", 0);
        assert_eq!(stream.begin_array().unwrap(), After::Another);
        let (offset, value) = stream.value().unwrap();
        assert_eq!((offset, value.len()), (4, text.len() + 2));
        assert_eq!(stream.after_element().unwrap(), After::Another);
        assert_eq!(stream.value().unwrap().1, b"7");
        assert_eq!(stream.after_element().unwrap(), After::End);
        assert_eq!(stream.peek().unwrap(), None);
        assert_eq!(stream.position(), document.len() as u64);
    }

    #[test]
    fn a_value_without_end_is_refused() {
        let source = Source::from_bytes([b"\"".to_vec(), vec![b'x'; 2 * VALUE_BYTES_MAX]].concat());
        let error = Stream::new(&source, "a", 0).value().unwrap_err();
        assert!(
            error.to_string().contains("longer than any writer"),
            "{error}"
        );
    }

    #[test]
    fn what_does_not_pair_is_damage() {
        for (text, at) in [("1,{]", 3), ("[}", 1)] {
            assert_eq!(
                commas(text, 1),
                Err(Fault::Wrong(at - 1, NO_PAIR)),
                "{text}"
            );
        }
    }
}
