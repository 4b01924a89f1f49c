//! Text worked out once a site and copied for every event.
//!
//! Names are escaped, shortened and coloured when a site is first seen; afterwards its text is
//! one slice of one buffer. Bounded by the number of distinct callers, never by events.

/// Texts by [`Call::site`](super::Call::site).
#[derive(Debug, Default)]
pub struct SiteTexts {
    /// All texts, one after the other.
    bytes: Vec<u8>,
    /// Where each site's text is; `start == end` means not yet there, as no text is empty.
    ranges: Vec<(usize, usize)>,
}

impl SiteTexts {
    /// The text of `site`, which `write` appends the first time it is asked for.
    #[inline]
    pub fn get(&mut self, site: u32, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let at = site as usize;
        let known = self.ranges.get(at).copied().unwrap_or((0, 0));
        let (start, end) = if known.0 < known.1 {
            known
        } else {
            self.add(at, write)
        };
        &self.bytes[start..end]
    }

    #[cold]
    fn add(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) -> (usize, usize) {
        if self.ranges.len() <= at {
            self.ranges.resize(at + 1, (0, 0));
        }
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.ranges[at] = (start, self.bytes.len());
        self.ranges[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_once_and_sites_may_come_in_any_order() {
        let mut texts = SiteTexts::default();
        assert_eq!(
            texts.get(7, |out| out.extend_from_slice(b"seven")),
            b"seven"
        );
        assert_eq!(texts.get(2, |out| out.extend_from_slice(b"two")), b"two");
        assert_eq!(texts.get(7, |_| unreachable!("it is known")), b"seven");
        assert_eq!(texts.get(2, |_| unreachable!("it is known")), b"two");
    }
}
