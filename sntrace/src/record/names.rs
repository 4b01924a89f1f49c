//! Names of all places at the end of a recording: of places in files by their symbols and debug
//! information, of generated code by what its runtime has written ([`super::generated`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::generated::Generated;
use super::places::Place;
use crate::symbolize::{Frame, Symbolizer};
use crate::trace::ImageId;

/// Knows which process each image was.
#[derive(Debug, Default)]
pub struct Names {
    processes: HashMap<ImageId, u32>,
}

impl Names {
    /// An image's process.
    pub fn process(&mut self, image: ImageId, pid: u32) {
        self.processes.insert(image, pid);
    }

    /// The functions of each place, empty where there is no name.
    pub fn all(&self, places: &[Place], symbolizer: &mut Symbolizer<'_>) -> Vec<Arc<[Frame]>> {
        let mut generated: HashMap<u32, Generated> = HashMap::new();
        // The call is before the address that it returns to.
        let mut name = |place: &Place| match *place {
            Place::InFile(file, address) => symbolizer.frames(file, address.wrapping_sub(1)),
            Place::Elsewhere(image, address) => match self.processes.get(&image) {
                Some(&pid) => {
                    let known = generated.entry(pid).or_insert_with(|| Generated::of(pid));
                    known.frames(address.wrapping_sub(1))
                }
                None => Arc::default(),
            },
        };
        places.iter().map(&mut name).collect()
    }
}
