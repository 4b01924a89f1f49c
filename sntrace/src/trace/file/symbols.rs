//! Symbol chunks: the functions of each site, in the order of the sites' numbers.
//!
//! Names and paths of source files repeat, so they are texts that are numbered by their place in the
//! file and named by the number. A chunk holds whole sites; texts come before the sites that use
//! them.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::{Fields, Malformed, put_bytes, put_number};
use crate::symbolize::Frame;
use crate::trace::Tables;

/// A chunk is closed when it has so many bytes.
const CHUNK_BYTES: usize = 1 << 18;
/// Functions that a site has at most: calls are not inlined deeper.
const FUNCTIONS_MAX: u64 = 4096;

mod tag {
    pub const TEXT: u8 = 1;
    pub const SITE: u8 = 2;
}

/// Symbols on their way into chunks.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub body: Vec<u8>,
    texts: HashMap<Arc<str>, u64>,
}

impl Symbols {
    /// Adds the functions of the next site. Returns whether the chunk should be closed now.
    pub(super) fn site(&mut self, functions: &[Frame]) -> bool {
        let functions = &functions[..functions.len().min(FUNCTIONS_MAX as usize)];
        let mut site = vec![tag::SITE];
        put_number(&mut site, functions.len() as u64);
        for frame in functions {
            for text in [&frame.function, &frame.file] {
                let number = text.as_ref().map_or(0, |text| self.text(text));
                put_number(&mut site, number);
            }
            put_number(&mut site, frame.line.map_or(0, |line| u64::from(line) + 1));
        }
        self.body.append(&mut site);
        self.body.len() >= CHUNK_BYTES
    }

    /// The number of a text, from 1.
    fn text(&mut self, text: &Arc<str>) -> u64 {
        if let Some(&number) = self.texts.get(text) {
            return number;
        }
        self.body.push(tag::TEXT);
        put_bytes(&mut self.body, text.as_bytes());
        let number = self.texts.len() as u64 + 1;
        self.texts.insert(text.clone(), number);
        number
    }
}

/// What a symbol chunk says.
#[derive(Debug)]
pub(super) enum Symbol<'a> {
    /// The next text.
    Text(&'a str),
    /// The functions of the next site.
    Site(usize, &'a [Frame]),
}

/// What was read of a file's symbols so far.
#[derive(Debug, Default)]
pub(super) struct SymbolReader {
    texts: Vec<Arc<str>>,
    sites: usize,
}

impl SymbolReader {
    /// Adds what a chunk says to the tables, and shows it.
    ///
    /// # Errors
    /// The body can't be right, or names what is not there.
    pub(super) fn read(
        &mut self,
        body: &[u8],
        tables: &mut Tables,
        each: &mut dyn FnMut(&Symbol<'_>),
    ) -> Result<(), Malformed> {
        let mut fields = Fields(body);
        while !fields.is_empty() {
            match fields.byte()? {
                tag::TEXT => {
                    let text = fields.text()?;
                    each(&Symbol::Text(text));
                    self.texts.push(text.into());
                }
                tag::SITE => {
                    let functions = self.functions(&mut fields)?;
                    let site = tables.sites.get_mut(self.sites);
                    let site =
                        site.ok_or_else(|| Malformed::new("it names more sites than there are"))?;
                    each(&Symbol::Site(self.sites, &functions));
                    self.sites += 1;
                    site.functions = functions;
                }
                _ => return Err(Malformed::new("a symbol is of an unknown kind")),
            }
        }
        Ok(())
    }

    fn functions(&self, fields: &mut Fields<'_>) -> Result<Arc<[Frame]>, Malformed> {
        let count = fields.number()?;
        if count > FUNCTIONS_MAX {
            return Err(Malformed::new("a site has more functions than any has"));
        }
        let mut functions = Vec::new();
        for _ in 0..count {
            functions.push(Frame {
                function: self.text(fields.number()?)?,
                file: self.text(fields.number()?)?,
                line: match fields.number()?.checked_sub(1) {
                    None => None,
                    Some(line) => Some(
                        u32::try_from(line)
                            .map_err(|_| Malformed::new("a line is beyond its range"))?,
                    ),
                },
            });
        }
        Ok(functions.into())
    }

    fn text(&self, number: u64) -> Result<Option<Arc<str>>, Malformed> {
        let Some(at) = number.checked_sub(1) else {
            return Ok(None);
        };
        let text = self.texts.get(usize::try_from(at).unwrap_or(usize::MAX));
        let text = text.ok_or_else(|| Malformed::new("a text is used that is not there"))?;
        Ok(Some(text.clone()))
    }
}
