//! Live bytes over time, in few points.
//!
//! Of each part of the run: the highest value, when it was first reached, and the last one. So the
//! peak is among them, however many are left out.

/// A value at a time, in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    pub time_ns: u64,
    pub value: u64,
}

/// One or two points that are to be shown.
pub type Points = [Option<Point>; 2];

/// See the module.
#[derive(Debug)]
pub struct Counter {
    value: u64,
    /// Since the last point that was shown.
    highest: Option<Point>,
    last: Point,
    part_ends_ns: u64,
}

impl Counter {
    /// From this time on.
    pub fn new(time_ns: u64) -> Self {
        Self {
            value: 0,
            highest: None,
            last: Point { time_ns, value: 0 },
            part_ends_ns: time_ns,
        }
    }

    /// More is live.
    pub fn add(&mut self, bytes: u64) {
        self.value = self.value.saturating_add(bytes);
    }

    /// Less is live.
    pub fn subtract(&mut self, bytes: u64) {
        self.value = self.value.saturating_sub(bytes);
    }

    /// The value is what it is at this time. Points to be shown come once in a part of this length.
    pub fn settle(&mut self, now_ns: u64, part_ns: u64) -> Points {
        let mut points = Points::default();
        if now_ns >= self.part_ends_ns {
            points = self.finish();
            self.part_ends_ns = now_ns.saturating_add(part_ns);
        }
        let now = Point {
            time_ns: now_ns,
            value: self.value,
        };
        if self.highest.is_none_or(|highest| now.value > highest.value) {
            self.highest = Some(now);
        }
        self.last = now;
        points
    }

    /// What is still to be shown.
    pub fn finish(&mut self) -> Points {
        let highest = self.highest.take();
        let last = highest.and_then(|highest| (self.last != highest).then_some(self.last));
        [highest, last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_highest_value_and_its_last() {
        let mut counter = Counter::new(0);
        let mut points = Vec::new();
        for (now_ns, more, less) in [(0, 10, 0), (3, 90, 0), (4, 0, 80), (11, 5, 0), (29, 0, 1)] {
            counter.add(more);
            counter.subtract(less);
            points.extend(counter.settle(now_ns, 10));
        }
        points.extend(counter.finish());
        let points: Vec<_> = points.into_iter().flatten().collect();
        let expected = [(3, 100), (4, 20), (11, 25), (29, 24)];
        let expected = expected.map(|(time_ns, value)| Point { time_ns, value });
        assert_eq!(points, expected);
    }
}
