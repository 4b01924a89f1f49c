//! Producer and consumer together, one step at a time.

use super::*;
use crate::record::{Op, first_word};

struct Lane {
    header: LaneHeader,
    data: Vec<AtomicU64>,
}

impl Lane {
    fn new() -> Self {
        Self {
            header: LaneHeader::new(),
            data: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
    fn ends(&self) -> (Producer, Consumer) {
        // SAFETY: the lane outlives both ends in every test, and each end is made once.
        unsafe {
            (
                Producer::resume(&self.header, self.data.as_ptr()),
                Consumer::resume(&self.header, self.data.as_ptr()),
            )
        }
    }
}

/// Writes records of `length` words, each word the record's number, until the ring is full.
fn fill(producer: &mut Producer, next: &mut u64, length: u64) {
    loop {
        if !producer.claim() && producer.make_room(ROOM_WORDS) == Room::Full {
            return;
        }
        producer.enter();
        // SAFETY: there is room for ROOM_WORDS words.
        let slot = unsafe { producer.slot::<{ ROOM_WORDS as usize }>() };
        slot[0].store(first_word(*next, Op::Malloc), Ordering::Relaxed);
        for word in &slot[1..length as usize] {
            word.store(*next, Ordering::Relaxed);
        }
        producer.publish(length);
        *next += 1;
    }
}

fn read_all(consumer: &mut Consumer, expected: &mut u64, length: u64) {
    let target = consumer.progress().position;
    while consumer.tail() < target {
        let words = consumer.published(target).unwrap();
        let first = words[0].load(Ordering::Relaxed);
        if first & 0x3f == Op::Pad as u64 {
            consumer.skip(consumer.left_to_end());
            continue;
        }
        assert_eq!(first, first_word(*expected, Op::Malloc));
        for word in &words[1..length as usize] {
            assert_eq!(word.load(Ordering::Relaxed), *expected);
        }
        *expected += 1;
        consumer.skip(length);
    }
    let _ = consumer.release();
}

#[test]
fn everything_written_is_read_once_over_many_turns_of_the_ring() {
    for length in [1, 3, 5, 48, ROOM_WORDS] {
        let lane = Lane::new();
        let (mut producer, mut consumer) = lane.ends();
        let (mut written, mut read) = (0, 0);
        for _ in 0..5 {
            fill(&mut producer, &mut written, length);
            read_all(&mut consumer, &mut read, length);
            assert_eq!(read, written);
        }
        assert!(
            written * length > 4 * (RING_WORDS - 2 * ROOM_WORDS),
            "{written} records of {length}"
        );
    }
}

#[test]
fn a_producer_without_a_lane_has_no_room() {
    let mut producer = Producer::none();
    assert!(!producer.claim() && !producer.is_claimed() && !producer.has_lane());
}

#[test]
fn a_successor_goes_on_where_a_dead_thread_left_and_drops_its_half_record() {
    let lane = Lane::new();
    let (mut producer, mut consumer) = lane.ends();
    assert_eq!(producer.make_room(ROOM_WORDS), Room::Ready);
    producer.publish(3);
    assert!(producer.claim());
    producer.enter();
    assert!(consumer.progress().inside);
    // SAFETY: the first producer is not used again.
    let next = unsafe { Producer::resume(&lane.header, lane.data.as_ptr()) };
    assert!(!next.is_claimed());
    assert_eq!(
        consumer.progress(),
        Progress {
            position: 3,
            inside: false
        }
    );
    consumer.skip(3);
    assert!(!consumer.release());
}

#[test]
fn a_claimed_producer_is_left_alone() {
    let lane = Lane::new();
    let (mut producer, consumer) = lane.ends();
    assert_eq!(producer.make_room(ROOM_WORDS), Room::Ready);
    assert!(producer.is_claimed() && !producer.claim());
    // SAFETY: three words are less than the room.
    assert!(!unsafe { producer.write::<3>(3, || true, |_| unreachable!()) });
    assert!(
        producer.is_claimed(),
        "who came too late takes nothing away"
    );
    producer.publish(3);
    assert!(!producer.is_claimed());
    // SAFETY: as above.
    assert!(!unsafe { producer.write::<3>(3, || false, |_| unreachable!()) });
    let inside = |_: &_| assert!(consumer.progress().inside);
    // SAFETY: as above.
    assert!(unsafe { producer.write::<3>(3, || true, inside) });
    assert!(!producer.is_claimed());
    assert_eq!(consumer.progress().position, 6);
}

#[test]
fn an_impossible_position_is_refused() {
    let lane = Lane::new();
    let (mut producer, mut consumer) = lane.ends();
    assert!(consumer.published(RING_WORDS + 1).is_none());
    producer.make_room(ROOM_WORDS);
    producer.publish(10);
    consumer.skip(10);
    assert!(consumer.published(9).is_none());
}

#[test]
fn a_waiting_producer_is_seen_by_the_release_that_makes_room() {
    let lane = Lane::new();
    let (mut producer, mut consumer) = lane.ends();
    let mut written = 0;
    fill(&mut producer, &mut written, 3);
    producer.announce_wait();
    assert_eq!(producer.make_room(ROOM_WORDS), Room::Full);
    consumer.skip(3);
    assert!(!consumer.release(), "there is room, but hardly any");
    consumer.skip(3 * written - 3 - WAKE_WORDS);
    assert!(consumer.release());
    assert!(!consumer.release(), "woken once");
    assert_eq!(producer.make_room(ROOM_WORDS), Room::Ready);
}
