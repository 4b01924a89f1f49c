//! How single events go into the columns: in which manner, and the codes of the blocks that they concern.

use super::columns::{Columns, Sheet};
use super::fields::zigzag;
use super::model::{Lane, given, is_event, place};
use super::owned::Owned;
use crate::trace::Op;

/// How an event goes into the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Not at all: it is none.
    None,
    /// It obtains a block and has nothing but its size.
    Obtains,
    /// It gives a block back and has nothing else.
    Frees,
    /// In any other way.
    Any,
}

impl Manner {
    #[inline(always)]
    pub(super) const fn of(op: Op) -> Self {
        const BY_OP: &[Manner; 64] = &{
            let mut manners = [Manner::None; 64];
            let mut at = 0;
            while at < Op::ALL.len() {
                let op = Op::ALL[at];
                let plain = op.operands() == 0 && !op.is_mapping();
                manners[op as usize] = match op {
                    _ if !is_event(op) => Manner::None,
                    Op::Free => Manner::Frees,
                    _ if plain && op.acquires() => Manner::Obtains,
                    _ => Manner::Any,
                };
                at += 1;
            }
            manners
        };
        BY_OP[op as usize % 64]
    }
}

/// Which block a call was given: the one at `address`, which is `owned` if it is live, or was until this
/// call.
#[inline(always)]
pub(super) fn put_given(
    sheet: &mut Sheet,
    lane: &Lane,
    number: u8,
    address: u64,
    owned: Option<Owned>,
) {
    let code = match owned {
        Some(owned) => match lane.age(owned.number, owned.when) {
            Some(age) if owned.lane == number => given::RECENT + age as u64,
            _ => given::NUMBER + u64::from(owned.number),
        },
        None if address == 0 => given::NULL,
        None => {
            sheet.put(Columns::Rare, address);
            given::UNKNOWN
        }
    };
    sheet.put(Columns::Given, code);
}

/// Where a block lies that was obtained.
#[inline(always)]
pub(super) fn place_block(sheet: &mut Sheet, lane: &mut Lane, block: u64, bytes: u64, class: u8) {
    if let Some(depth) = lane.depth_of(class, block) {
        lane.reuse(class, depth);
        return sheet.put(Columns::Place, place::FREED + u64::from(depth));
    }
    let distance = block.wrapping_sub(lane.next) as i64;
    lane.place(block, bytes);
    if distance % 16 == 0 {
        sheet.put(Columns::Place, place::ALIGNED);
        sheet.put(Columns::Distance, zigzag(distance / 16));
    } else {
        sheet.put(Columns::Place, place::ANYWHERE);
        sheet.put(Columns::Distance, zigzag(distance));
    }
}
