//! Which columns an event chunk has, and in which order.

use super::column::Column;

/// Events in a chunk.
pub(super) const CHUNK_EVENTS: usize = 1 << 16;
/// The columns, in the order in which they stand in a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Columns {
    /// 0: the thread of the event before; else its number and 1. The next new number: image and
    /// thread id are among the rare numbers.
    Thread,
    /// Nanoseconds since the event before.
    Time,
    /// 0: as expected; else the kind's number and 1. The next new number: op and stack are among
    /// the rare numbers.
    Kind,
    /// Of what allocates and of mappings: 0 as the last of its kind, 1 a rare number, else the
    /// size and 2.
    Size,
    /// Of what releases, but `free`: 0 as the last of its kind, 1 that of the block, 2 a rare
    /// number, else the size and 3.
    ReleasedSize,
    /// Where an obtained block lies: [`super::model::place`].
    Place,
    /// How far an obtained block lies from where it was expected.
    Distance,
    /// Which block the call was given: [`super::model::given`].
    Given,
    /// Of ops that have one, as a size.
    Count,
    /// Of ops that have one, as a size.
    Alignment,
    /// What is needed seldom.
    Rare,
}

/// How many there are.
pub(super) const COLUMNS: usize = Columns::Rare as usize + 1;

/// Their names, for a dump.
pub(super) const NAMES: [&str; COLUMNS] = [
    "thread",
    "time",
    "kind",
    "size",
    "released size",
    "place",
    "distance",
    "given",
    "count",
    "alignment",
    "rare",
];

/// The columns of a chunk that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet(pub [Column; COLUMNS]);

impl Sheet {
    #[inline(always)]
    pub(super) fn put(&mut self, column: Columns, number: u64) {
        self.0[column as usize].put(number);
    }

    /// A number that is often that of the last event of the kind.
    #[inline(always)]
    pub(super) fn repeated(&mut self, column: Columns, last: &mut u64, number: u64) {
        if *last == number {
            return self.put(column, 0);
        }
        *last = number;
        match number.checked_add(2) {
            Some(code) => self.put(column, code),
            None => {
                self.put(column, 1);
                self.put(Columns::Rare, number);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Column::clear);
    }
}
