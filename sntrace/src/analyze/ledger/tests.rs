//! What the ledger remembers, and for how long.

use super::*;

fn block(stack: u32, bytes: u64) -> Block {
    Block {
        bytes,
        time_ns: 5,
        stack: StackId(stack),
        thread: 0,
        chain: 0,
        op: Op::Malloc,
        alignment_log2: 0,
    }
}

fn by(stack: u32) -> Release {
    Release {
        op: Op::Free,
        time_ns: 9,
        stack: StackId(stack),
        thread: 1,
    }
}

#[test]
fn an_entry_stays_small() {
    assert_eq!(size_of::<Slot>(), 32);
}

#[test]
fn a_freed_block_is_remembered_until_its_address_is_used_again() {
    let mut ledger = Ledger::default();
    let seat = ledger.seat(ImageId(1));
    ledger.obtain(seat, 16, block(1, 100));
    assert_eq!(ledger.release(seat, 16, by(2)), Met::Live(block(1, 100)));
    let first = Freed {
        allocation: Some((Op::Malloc, StackId(1), 100)),
        release: by(2),
    };
    assert_eq!(ledger.release(seat, 16, by(3)), Met::Freed(first));
    ledger.obtain(seat, 16, block(4, 8));
    assert_eq!(ledger.release(seat, 16, by(5)), Met::Live(block(4, 8)));
}

#[test]
fn an_unknown_block_is_unknown_once() {
    let mut ledger = Ledger::default();
    let seat = ledger.seat(ImageId(1));
    assert_eq!(ledger.release(seat, 32, by(2)), Met::Unknown);
    let met = ledger.release(seat, 32, by(3));
    assert!(matches!(met, Met::Freed(freed) if freed.allocation.is_none()));
}

#[test]
fn what_a_child_inherits_is_what_its_parent_has_at_that_moment() {
    let mut ledger = Ledger::default();
    let (parent, child) = (ledger.seat(ImageId(1)), ledger.seat(ImageId(2)));
    let grandchild = ledger.seat(ImageId(3));
    ledger.obtain(parent, 16, block(1, 100));
    ledger.obtain(parent, 32, block(1, 50));
    ledger.release(parent, 32, by(9));
    let sums = |all: &[(StackId, Counts)]| {
        let mut all = all.to_vec();
        all.sort();
        all
    };
    let one = Counts::one;
    assert_eq!(sums(&ledger.fork(parent, child)), [(StackId(1), one(100))]);
    ledger.release(parent, 16, by(9));
    ledger.obtain(parent, 48, block(2, 7));
    ledger.obtain(child, 64, block(3, 9));
    assert_eq!(ledger.release(child, 16, by(4)), Met::Inherited);
    assert_eq!(
        sums(&ledger.fork(child, grandchild)),
        [(StackId(1), one(100)), (StackId(3), one(9))]
    );
    assert_eq!(sums(&ledger.fork(parent, child)), [(StackId(2), one(7))]);
}

#[test]
fn what_is_freed_for_good_takes_no_memory_for_ever() {
    let mut ledger = Ledger::default();
    let seat = ledger.seat(ImageId(1));
    let all = 4 * FREED_KEPT_BELOW as u64;
    for address in 1..=all {
        ledger.obtain(seat, address * 16, block(1, 1));
        ledger.release(seat, address * 16, by(2));
    }
    let capacity = ledger.seats[0].blocks.capacity();
    assert!(capacity < 3 * FREED_KEPT_BELOW, "{capacity}");
    assert!(ledger.forgotten() > 0);
    // The latest are known all the same.
    assert!(matches!(
        ledger.release(seat, all * 16, by(3)),
        Met::Freed(_)
    ));
}
