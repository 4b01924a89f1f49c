//! What stands among the events: processes, modules, ends.
//!
//! A tag byte and its fields. Rare, so plain.

use super::fields::{Fields, Malformed, put_bytes, put_number, unzigzag, zigzag};
use crate::trace::{Exit, ImageId, Item, Module};

mod tag {
    pub const PROCESS: u8 = 1;
    pub const MODULE_ADD: u8 = 2;
    pub const MODULE_REMOVE: u8 = 3;
    pub const LOADER_CALLED: u8 = 4;
    pub const EXEC: u8 = 5;
    pub const ENDED: u8 = 6;
}

mod exit {
    pub const CODE: u8 = 0;
    pub const SIGNAL: u8 = 1;
    pub const EXEC: u8 = 2;
    pub const UNKNOWN: u8 = 3;
}

/// Appends an item that is no event.
pub(super) fn put_item(out: &mut Vec<u8>, item: &Item) {
    let mut begin = |tag, image: ImageId| {
        out.push(tag);
        put_number(out, image.0.into());
    };
    match item {
        // Events have columns of their own, and their stacks whole.
        Item::Event(_) | Item::Stack { .. } => {}
        Item::Process {
            image,
            time_ns,
            pid,
            ppid,
            forked_from,
            executable,
            command,
        } => {
            begin(tag::PROCESS, *image);
            put_number(out, *time_ns);
            put_number(out, (*pid).into());
            put_number(out, (*ppid).into());
            // 0: none, so the number and 1.
            put_number(out, forked_from.map_or(0, |from| u64::from(from.0) + 1));
            put_bytes(out, executable);
            put_number(out, command.len() as u64);
            for argument in command {
                put_bytes(out, argument);
            }
        }
        Item::ModuleAdd { image, module } => {
            begin(tag::MODULE_ADD, *image);
            let Module {
                start,
                end,
                bias,
                device,
                inode,
                build_id,
                path,
            } = module;
            for number in [start, end, bias, device, inode] {
                put_number(out, *number);
            }
            put_bytes(out, build_id);
            put_bytes(out, path);
        }
        Item::ModuleRemove { image, start } => {
            begin(tag::MODULE_REMOVE, *image);
            put_number(out, *start);
        }
        Item::LoaderCalled { image, epoch } => {
            begin(tag::LOADER_CALLED, *image);
            put_number(out, (*epoch).into());
        }
        Item::Exec { image, pid, path } => {
            begin(tag::EXEC, *image);
            put_number(out, (*pid).into());
            put_bytes(out, path);
        }
        Item::Ended {
            image,
            exit,
            live_blocks,
            live_bytes,
        } => {
            begin(tag::ENDED, *image);
            let (how, number) = match *exit {
                Exit::Code(code) => (exit::CODE, code),
                Exit::Signal(signal) => (exit::SIGNAL, signal),
                Exit::Exec => (exit::EXEC, 0),
                Exit::Unknown => (exit::UNKNOWN, 0),
            };
            out.push(how);
            put_number(out, zigzag(number.into()));
            put_number(out, *live_blocks);
            put_number(out, *live_bytes);
        }
    }
}

/// Reads an item that is no event.
pub(super) fn item(fields: &mut Fields<'_>) -> Result<Item, Malformed> {
    let tag = fields.byte()?;
    let image = ImageId(fields.small()?);
    Ok(match tag {
        tag::PROCESS => Item::Process {
            image,
            time_ns: fields.number()?,
            pid: fields.small()?,
            ppid: fields.small()?,
            forked_from: match fields.number()?.checked_sub(1) {
                None => None,
                Some(from) => Some(ImageId(u32::try_from(from).map_err(|_| no_such())?)),
            },
            executable: fields.bytes()?.to_vec(),
            command: {
                let count = fields.number()?;
                let mut command = Vec::new();
                for _ in 0..count {
                    command.push(fields.bytes()?.to_vec());
                }
                command
            },
        },
        tag::MODULE_ADD => Item::ModuleAdd {
            image,
            module: Module {
                start: fields.number()?,
                end: fields.number()?,
                bias: fields.number()?,
                device: fields.number()?,
                inode: fields.number()?,
                build_id: fields.bytes()?.to_vec(),
                path: fields.bytes()?.to_vec(),
            },
        },
        tag::MODULE_REMOVE => Item::ModuleRemove {
            image,
            start: fields.number()?,
        },
        tag::LOADER_CALLED => Item::LoaderCalled {
            image,
            epoch: fields.small()?,
        },
        tag::EXEC => Item::Exec {
            image,
            pid: fields.small()?,
            path: fields.bytes()?.to_vec(),
        },
        tag::ENDED => {
            let how = fields.byte()?;
            let number = i32::try_from(unzigzag(fields.number()?)).map_err(|_| no_such())?;
            Item::Ended {
                image,
                exit: match how {
                    exit::CODE => Exit::Code(number),
                    exit::SIGNAL => Exit::Signal(number),
                    exit::EXEC => Exit::Exec,
                    exit::UNKNOWN => Exit::Unknown,
                    _ => return Err(no_such()),
                },
                live_blocks: fields.number()?,
                live_bytes: fields.number()?,
            }
        }
        _ => return Err(no_such()),
    })
}

fn no_such() -> Malformed {
    Malformed::new("an item between events is none that a run has")
}
