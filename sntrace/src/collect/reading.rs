//! Lanes and pipe, read: what is published goes to the orderer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use sntrace_format::control::{self, BODY_MAX, Control};
use sntrace_format::layout::LANES;
use sntrace_format::pipe::MessageHeader;
use sntrace_format::record::{Record, decode};
use sntrace_format::ring::RING_WORDS;

use super::lane::Lane;
use super::order::{Orderer, Other, RawEvent};
use super::segment::{self, Segment};
use super::{BUFFERED_WORDS_MAX, Collector, Downstream, StackDifference};
use crate::trace::{ImageId, Item, Module};

/// Words taken from all lanes together before the first of them are emitted: some hundred
/// thousand events.
const TAKEN_WORDS: u64 = 2 * RING_WORDS;
/// Words taken from a lane at once at least.
const PIECE_WORDS_MIN: u64 = 512;

impl Collector {
    pub(super) fn read_lanes(&mut self, now: u64, send: &mut dyn Downstream) -> bool {
        let Some(segment) = self.segment.clone() else {
            return false;
        };
        let header = segment.header();
        header.heartbeat.fetch_add(1, Ordering::Relaxed);
        let claimed = self.know_lanes(&segment);
        if claimed > 1 && self.barrier_works {
            self.barrier_works = segment::barrier();
        }
        // Without a barrier a store may still be on its way; it never takes this long.
        let margin = if self.barrier_works {
            0
        } else {
            self.timeline.ticks_in(1_000_000)
        };
        let clean = now.saturating_sub(margin);
        let mut unread = BinaryHeap::new();
        for (index, lane) in self.lanes[..claimed].iter_mut().enumerate() {
            let Some(lane) = lane else {
                continue;
            };
            lane.look();
            if lane.is_read() {
                note_read(lane, clean, &self.orderer);
            } else {
                unread.push(Reverse((lane.clean_until, index)));
            }
        }
        self.read_earliest_first(&segment, unread, clean, send)
    }

    /// Reads lanes piece by piece, always the one that the others' events wait for: what is
    /// published in all of them together would be too much to hold.
    fn read_earliest_first(
        &mut self,
        segment: &Segment,
        mut unread: BinaryHeap<Reverse<(u64, usize)>>,
        clean: u64,
        send: &mut dyn Downstream,
    ) -> bool {
        let share = TAKEN_WORDS / unread.len().max(1) as u64;
        let piece = share.clamp(PIECE_WORDS_MIN, RING_WORDS);
        let mut any = false;
        while let Some(Reverse((clean_until, index))) = unread.pop() {
            if self.orderer.buffered_words() > BUFFERED_WORDS_MAX
                && clean_until > self.certain_until().0
            {
                // All wait for a thread inside a record; more of what waits would help nobody.
                break;
            }
            let Some(mut lane) = self.lanes[index].take() else {
                continue;
            };
            any |= self.read_lane(segment, &mut lane, piece);
            if lane.is_read() {
                note_read(&mut lane, clean, &self.orderer);
            } else {
                let last = self.orderer.last_time(lane.source);
                lane.clean_until = lane.clean_until.max(last);
                unread.push(Reverse((lane.clean_until, index)));
            }
            self.lanes[index] = Some(lane);
            if self.orderer.buffered_words() > BUFFERED_WORDS_MAX / 4 {
                self.emit(clean, false, send);
            }
        }
        any
    }

    /// Takes notice of every lane that has an owner, before any is read: what is emitted in between
    /// must not overtake one. Returns how many there may be.
    pub(super) fn know_lanes(&mut self, segment: &Segment) -> usize {
        let claimed = segment.header().lanes_claimed.load(Ordering::Acquire) as usize;
        let claimed = claimed.min(LANES);
        if self.lanes.len() < claimed {
            self.lanes.resize_with(claimed, || None);
        }
        for index in 0..claimed {
            let owner = segment.lane(index).owner.load(Ordering::Acquire);
            if owner != 0 && self.lanes[index].is_none() {
                self.lanes[index] = Some(self.new_lane(segment, index, ImageId(owner)));
            }
        }
        claimed
    }

    fn new_lane(&mut self, segment: &Segment, index: usize, image: ImageId) -> Lane {
        while self.sources.len() <= index {
            self.sources.push(self.orderer.add_source());
        }
        let (consumer, source) = (segment.consumer(index), self.sources[index]);
        self.orderer.begin_lane(source, image, consumer.tail());
        Lane::new(consumer, image, source)
    }

    /// Reads at most `limit` words. Returns whether there were any.
    pub(super) fn read_lane(&mut self, segment: &Segment, lane: &mut Lane, limit: u64) -> bool {
        let image = lane.image;
        let words = self.orderer.lane(lane.source);
        if !lane.take(limit, words.end()) {
            return false;
        }
        let mut began = Vec::new();
        let first_difference = &mut self.first_difference;
        let boards = &self.boards;
        let result = words.scan(!lane.is_read(), |_, message| {
            let parent = |key| u32::try_from(key).ok().filter(|&key| key != 0).map(ImageId);
            if let Control::Process { pid, .. } = message {
                // Known before the item is presented, which asks for it.
                let slot = segment.slot_of(image.0);
                boards.remember(image, slot);
                began.push((pid, slot));
            }
            if let Control::StackDifference {
                same,
                reused,
                walked,
            } = message
            {
                first_difference.get_or_insert_with(|| StackDifference {
                    image,
                    same,
                    reused: addresses(reused),
                    walked: addresses(walked),
                });
            }
            of_control(image, &message, parent)
        });
        if result.is_err() && !lane.damaged {
            lane.damaged = true;
            self.statistics.damaged += 1;
        }
        self.orderer.arrived(lane.source);
        for (pid, slot) in began {
            self.image_began(image, pid, slot);
        }
        true
    }

    pub(super) fn read_pipe(&mut self) -> bool {
        let Some(mut pipe) = self.pipe.take() else {
            return false;
        };
        let mut began = Vec::new();
        let result = pipe.read(|header, words| {
            let image = self.pipe_image(header);
            let orderer = &mut self.orderer;
            let images = &self.pipe_images;
            match decode(words) {
                Ok((
                    Record::Event {
                        event,
                        frames_at,
                        frames,
                        truncated,
                        ..
                    },
                    _,
                )) => {
                    let raw = RawEvent {
                        event,
                        frames: words[frames_at..frames_at + frames].into(),
                        truncated,
                        tid: header.tid,
                        thread: orderer.thread(image, header.tid),
                    };
                    orderer.deliver_event(image, raw);
                }
                Ok((Record::Control { time, kind, bytes }, _)) => {
                    let mut buffer = [0; BODY_MAX + 8];
                    let body = control::body(words, bytes, &mut buffer);
                    let Some(message) = control::parse(kind, body) else {
                        self.statistics.damaged += 1;
                        return;
                    };
                    if let Control::Process { pid, .. } = message {
                        began.push((image, pid));
                    }
                    let parent = |key: u64| images.get(&key).copied();
                    // Each message says whose it is.
                    if !matches!(message, Control::Thread { .. })
                        && let Some(other) = of_control(image, &message, parent)
                    {
                        orderer.deliver_other(image, time, other);
                    }
                }
                Ok((Record::Pad | Record::Stack { .. }, _)) | Err(_) => {
                    self.statistics.damaged += 1
                }
            }
        });
        self.pipe = Some(pipe);
        for (image, pid) in began {
            self.image_began(image, pid, None);
        }
        // The pipe is the launcher's own: reading it does not fail.
        result.unwrap_or(false)
    }

    /// The number of an image that speaks through the pipe.
    fn pipe_image(&mut self, header: MessageHeader) -> ImageId {
        // A process with lanes uses its image's number here too.
        if let Ok(number) = u32::try_from(header.image) {
            return ImageId(number);
        }
        let (segment, count) = (&self.segment, self.pipe_images.len() as u32);
        *self.pipe_images.entry(header.image).or_insert_with(|| {
            // Numbered along with the others where there are others, so that numbers stay dense.
            let number = segment
                .as_ref()
                .map(|segment| segment.header().last_image.fetch_add(1, Ordering::Relaxed));
            ImageId(number.unwrap_or(count) + 1)
        })
    }
}

/// Return addresses from a message.
fn addresses(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// A lane from which all that was published at the last look has been read.
fn note_read(lane: &mut Lane, clean: u64, orderer: &Orderer) {
    let until = match lane.inside {
        None => clean,
        // What is being written is later than what was written before.
        Some(_) => orderer.last_time(lane.source),
    };
    lane.clean_until = lane.clean_until.max(until);
}

/// What stands in the place of a control message, if anything.
fn of_control(
    image: ImageId,
    message: &Control<'_>,
    parent: impl Fn(u64) -> Option<ImageId>,
) -> Option<Other> {
    let item = match *message {
        Control::Thread { tid } => return Some(Other::Thread(tid)),
        Control::Process {
            pid,
            ppid,
            forked_from,
            executable,
            command,
        } => {
            let command = command.split(|&byte| byte == 0);
            let mut command: Vec<Vec<u8>> = command.map(<[u8]>::to_vec).collect();
            // The last argument ends with a zero too.
            if command.last().is_some_and(Vec::is_empty) {
                command.pop();
            }
            Item::Process {
                image,
                time_ns: 0,
                pid,
                ppid,
                forked_from: if forked_from == 0 {
                    None
                } else {
                    parent(forked_from)
                },
                executable: executable.to_vec(),
                command,
            }
        }
        Control::ModuleAdd {
            start,
            end,
            bias,
            device,
            inode,
            build_id,
            path,
        } => {
            let (build_id, path) = (build_id.to_vec(), path.to_vec());
            let module = Module {
                start,
                end,
                bias,
                device,
                inode,
                build_id,
                path,
            };
            Item::ModuleAdd { image, module }
        }
        Control::ModuleRemove { start } => Item::ModuleRemove { image, start },
        Control::StackDifference { .. } => return None,
        Control::Loader { epoch } => Item::LoaderCalled { image, epoch },
        Control::Exec { pid, path } => Item::Exec {
            image,
            pid,
            path: path.to_vec(),
        },
    };
    Some(Other::Item(Box::new(item)))
}
