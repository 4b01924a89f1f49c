//! Names of all places at the end of a recording: of places in files by their symbols and debug
//! information, of generated code by what its runtime has written ([`super::generated`]).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::generated::Generated;
use super::places::Place;
use crate::symbolize::{Frame, Symbolizer};
use crate::trace::ImageId;

/// Knows which process each image was, and where it ran.
#[derive(Debug, Default)]
pub struct Names {
    processes: HashMap<ImageId, (u32, Option<PathBuf>)>,
}

impl Names {
    /// An image's process, which has just begun.
    pub fn process(&mut self, image: ImageId, pid: u32) {
        // Unknown if it is gone already, or another user's.
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok();
        self.processes.insert(image, (pid, folder));
    }

    /// The functions of each place, empty where there is no name.
    pub fn all(&self, places: &[Place], symbolizer: &mut Symbolizer<'_>) -> Vec<Arc<[Frame]>> {
        let mut generated: HashMap<ImageId, Generated> = HashMap::new();
        // The call is before the address that it returns to.
        let mut name = |place: &Place| match *place {
            Place::InFile(file, address) => symbolizer.frames(file, address.wrapping_sub(1)),
            Place::Elsewhere(image, address) => match self.processes.get(&image) {
                Some((pid, folder)) => {
                    let known = generated
                        .entry(image)
                        .or_insert_with(|| Generated::of(*pid, folder.as_deref()));
                    known.frames(address.wrapping_sub(1))
                }
                None => Arc::default(),
            },
        };
        places.iter().map(&mut name).collect()
    }
}
