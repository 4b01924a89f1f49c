//! Which process an event is of.

use crate::output::{Process, escape};
use crate::symbolize::hash::AddressMap;
use crate::trace::{ImageId, Item};

/// The processes that run, without their names, which events do not tell.
#[derive(Default)]
pub struct Processes {
    running: AddressMap<ImageId, Process>,
}

impl Processes {
    /// Takes in an item.
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Process {
                image,
                time_ns,
                pid,
                ppid,
                ..
            } => {
                let process = Process {
                    ppid: *ppid,
                    time_ns: *time_ns,
                    ..nameless(*image, *pid)
                };
                self.running.insert(*image, process);
            }
            Item::Ended { image, .. } => {
                self.running.remove(image);
            }
            _ => {}
        }
    }

    /// The process of an image; one of pid 0 where it was never announced.
    pub fn of(&mut self, image: ImageId) -> &Process {
        self.running
            .entry(image)
            .or_insert_with(|| nameless(image, 0))
    }
}

/// A process of which nothing but this is known.
pub fn nameless(image: ImageId, pid: u32) -> Process {
    Process {
        image,
        time_ns: 0,
        pid,
        ppid: 0,
        forked_from: None,
        executable: String::new(),
        command: Vec::new(),
    }
}

/// The process that an item begins, in words.
pub fn begun(item: &Item) -> Option<Process> {
    let Item::Process {
        image,
        time_ns,
        pid,
        ppid,
        forked_from,
        executable,
        command,
    } = item
    else {
        return None;
    };
    Some(Process {
        image: *image,
        time_ns: *time_ns,
        pid: *pid,
        ppid: *ppid,
        forked_from: *forked_from,
        executable: escape::lossy(executable).into_owned(),
        command: command
            .iter()
            .map(|word| escape::lossy(word).into_owned())
            .collect(),
    })
}
