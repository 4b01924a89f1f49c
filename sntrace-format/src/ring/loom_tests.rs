//! Producer and consumer together, in every interleaving: `scripts/loom.sh`.

use super::*;
use crate::record::{Op, first_word};
use loom::sync::Arc;

struct Lane {
    header: LaneHeader,
    data: Vec<AtomicU64>,
}

/// Two-word records through a ring of eight, the producer waiting for room as the hook does.
/// Loom tries every interleaving and every value a relaxed load may return.
#[test]
fn no_record_is_lost_torn_or_read_twice() {
    loom::model(|| {
        const RECORDS: u64 = 5;
        let lane = Arc::new(Lane {
            header: LaneHeader::new(),
            data: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
        });
        let writer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                // SAFETY: the lane outlives the thread, and this is its only producer.
                let mut producer = unsafe { Producer::resume(&lane.header, lane.data.as_ptr()) };
                for n in 0..RECORDS {
                    while !producer.claim() && producer.make_room(ROOM_WORDS) == Room::Full {
                        loom::thread::yield_now();
                    }
                    producer.enter();
                    // SAFETY: there is room for two words.
                    let slot = unsafe { producer.slot::<2>() };
                    slot[0].store(first_word(n, Op::Malloc), Ordering::Relaxed);
                    slot[1].store(n, Ordering::Relaxed);
                    producer.publish(2);
                }
            })
        };
        // SAFETY: the lane outlives this function, and this is its only consumer.
        let mut consumer = unsafe { Consumer::resume(&lane.header, lane.data.as_ptr()) };
        let mut expected = 0;
        while expected < RECORDS {
            let target = consumer.progress().position;
            while consumer.tail() < target {
                let words = consumer.published(target).unwrap();
                let first = words[0].load(Ordering::Relaxed);
                if first & 0x3f == Op::Pad as u64 {
                    consumer.skip(consumer.left_to_end());
                    continue;
                }
                assert_eq!(first, first_word(expected, Op::Malloc));
                assert_eq!(words[1].load(Ordering::Relaxed), expected);
                expected += 1;
                consumer.skip(2);
            }
            let _ = consumer.release();
            loom::thread::yield_now();
        }
        writer.join().unwrap();
    });
}

/// The producer that says it waits and then finds no room is always seen by the consumer.
#[test]
fn a_wait_is_never_missed() {
    loom::model(|| {
        let lane = Arc::new(Lane {
            header: LaneHeader::new(),
            data: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
        });
        // SAFETY: the lane outlives both ends; one of each.
        let mut producer = unsafe { Producer::resume(&lane.header, lane.data.as_ptr()) };
        while producer.make_room(ROOM_WORDS) == Room::Ready {
            producer.publish(2);
        }
        let reader = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                // SAFETY: as above.
                let mut consumer = unsafe { Consumer::resume(&lane.header, lane.data.as_ptr()) };
                let target = consumer.progress().position;
                consumer.skip(target);
                consumer.release()
            })
        };
        producer.announce_wait();
        let found_room = producer.make_room(ROOM_WORDS) == Room::Ready;
        let woken = reader.join().unwrap();
        assert!(found_room || woken);
    });
}
