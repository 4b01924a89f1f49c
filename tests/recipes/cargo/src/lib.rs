//! Counts words.

use std::collections::HashMap;

/// How often each word was seen.
#[derive(Default)]
pub struct Tally {
    counts: HashMap<String, usize>,
}

impl Tally {
    /// Sees every word of a text.
    pub fn read(&mut self, text: &str) {
        for word in text.split_whitespace() {
            self.see(word);
        }
    }

    /// Sees a word. Allocates only for a new one.
    fn see(&mut self, word: &str) {
        match self.counts.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(word.to_owned(), 1);
            }
        }
    }

    /// How often a word was seen.
    pub fn of(&self, word: &str) -> usize {
        self.counts.get(word).copied().unwrap_or_default()
    }
}
