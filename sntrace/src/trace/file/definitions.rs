//! Definition chunks: files, places in code and stacks, each before the first event that uses it.
//!
//! Everything is numbered by its place in the file, so numbers are not written. Small differences
//! are: a site's address lies near that of the site before, and a stack's parent is mostly the
//! stack before.

use super::fields::{Fields, Malformed, put_bytes, put_number, unzigzag, zigzag};
use crate::trace::{FileNumber, Site, SiteId, StackId, StackNode, Tables, TracedFile};

mod tag {
    pub const FILE: u8 = 1;
    pub const SITE: u8 = 2;
    pub const STACK: u8 = 3;
}

/// Definitions on their way into a chunk.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    pub body: Vec<u8>,
    last_address: u64,
    /// How many stacks are defined, in the whole file.
    stacks: u32,
}

impl Definitions {
    pub(super) fn file(&mut self, file: &TracedFile) {
        self.body.push(tag::FILE);
        put_bytes(&mut self.body, file.path.as_bytes());
        put_bytes(&mut self.body, &file.build_id);
    }

    pub(super) fn site(&mut self, file: Option<FileNumber>, address: u64) {
        self.body.push(tag::SITE);
        // 0: none, so the number and 1.
        put_number(&mut self.body, file.map_or(0, |file| u64::from(file.0) + 1));
        let difference = address.wrapping_sub(self.last_address) as i64;
        put_number(&mut self.body, zigzag(difference));
        self.last_address = address;
    }

    pub(super) fn stack(&mut self, node: StackNode) {
        self.body.push(tag::STACK);
        // Below by 0: the stack before this one.
        put_number(
            &mut self.body,
            self.stacks.wrapping_sub(node.parent.0).into(),
        );
        put_number(&mut self.body, node.site.0.into());
        self.stacks = self.stacks.wrapping_add(1);
    }

    /// A chunk begins anew with addresses, so that it reads by itself.
    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.last_address = 0;
    }
}

/// What a definition chunk defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    File(TracedFile),
    Site {
        file: Option<FileNumber>,
        address: u64,
    },
    Stack(StackNode),
}

/// Adds what a chunk defines to the tables, and shows it.
///
/// # Errors
/// The body can't be right, or uses what was not defined before.
pub(super) fn read(
    body: &[u8],
    tables: &mut Tables,
    each: &mut dyn FnMut(&Definition),
) -> Result<(), Malformed> {
    let mut fields = Fields(body);
    let mut last_address = 0_u64;
    while !fields.is_empty() {
        let definition = match fields.byte()? {
            tag::FILE => Definition::File(TracedFile {
                path: fields.text()?.to_owned(),
                build_id: fields.bytes()?.to_vec(),
            }),
            tag::SITE => {
                let file = match fields.small()?.checked_sub(1) {
                    Some(file) if file as usize >= tables.files.len() => {
                        return Err(undefined("a file"));
                    }
                    file => file.map(FileNumber),
                };
                let difference = unzigzag(fields.number()?) as u64;
                last_address = last_address.wrapping_add(difference);
                Definition::Site {
                    file,
                    address: last_address,
                }
            }
            tag::STACK => {
                let before = tables.stacks.len() - 1;
                let parent = (before as u64).checked_sub(fields.number()?);
                let parent = parent.and_then(|parent| u32::try_from(parent).ok());
                let site = fields.small()?;
                if site as usize >= tables.sites.len() {
                    return Err(undefined("a place in code"));
                }
                Definition::Stack(StackNode {
                    parent: StackId(parent.ok_or_else(|| undefined("a stack"))?),
                    site: SiteId(site),
                })
            }
            _ => return Err(Malformed::new("a definition is of an unknown kind")),
        };
        each(&definition);
        add(definition, tables)?;
    }
    Ok(())
}

fn add(definition: Definition, tables: &mut Tables) -> Result<(), Malformed> {
    match definition {
        Definition::File(file) => tables.files.push(file),
        Definition::Site { file, address } => tables.sites.push(Site {
            file,
            address,
            ..Site::default()
        }),
        Definition::Stack(StackNode { parent, site }) => {
            let number = tables.stacks.len();
            let stack = tables.stacks.intern(parent, site);
            if stack.0 as usize != number {
                return Err(Malformed::new("a stack is defined twice"));
            }
        }
    }
    Ok(())
}

fn undefined(what: &str) -> Malformed {
    Malformed(format!("{what} is used that was not defined before"))
}
