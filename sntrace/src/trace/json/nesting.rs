//! The brackets around a place in a document: that they pair, and that there are not too many.
//!
//! A number and a bit each, so that depth costs neither stack nor memory.

/// Arrays and objects within each other, from here on, are nonsense.
pub(super) const DEPTH_MAX: usize = 100;

pub(super) const TOO_DEEP: &str = "values are nested too deeply";
pub(super) const NO_PAIR: &str = "brackets do not pair";

/// The open brackets around a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nesting {
    depth: usize,
    /// A bit each, the innermost lowest: whether it is a brace.
    braces: u128,
}

impl Nesting {
    /// False: too deep.
    #[inline]
    pub fn open(&mut self, bracket: u8) -> bool {
        self.depth += 1;
        self.braces = self.braces << 1 | u128::from(bracket == b'{');
        self.depth <= DEPTH_MAX
    }

    /// How many are left; `None`: it does not pair.
    #[inline]
    pub fn close(&mut self, bracket: u8) -> Option<usize> {
        if (self.braces & 1 == 1) != (bracket == b'}') {
            return None;
        }
        self.braces >>= 1;
        self.depth = self.depth.checked_sub(1)?;
        Some(self.depth)
    }

    #[inline]
    pub fn depth(&self) -> usize {
        self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_pair_with_their_own_kind() {
        let mut nesting = Nesting::default();
        assert!(nesting.open(b'[') && nesting.open(b'{') && nesting.open(b'['));
        assert_eq!(nesting.depth(), 3);
        assert_eq!(nesting.close(b']'), Some(2));
        assert_eq!(nesting.close(b']'), None);
        assert_eq!(nesting.close(b'}'), Some(1));
        assert_eq!(nesting.close(b']'), Some(0));
        assert_eq!(nesting.close(b']'), None);
    }

    #[test]
    fn depth_has_a_limit() {
        let mut nesting = Nesting::default();
        assert!((0..DEPTH_MAX).all(|_| nesting.open(b'{')));
        assert!(!nesting.open(b'{'));
    }
}
