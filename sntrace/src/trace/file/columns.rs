//! Which columns an event chunk has, and in which order.

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
