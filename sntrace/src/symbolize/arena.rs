//! A list that only grows, and lends what it holds for as long as it lives.
//!
//! DWARF is read in place, from mapped or decompressed bytes, so these bytes must outlive every
//! reader of them while new files keep coming. Sharing them by reference count would cost a
//! count at each of the millions of small reads; an arena costs nothing. Entries are few (some a
//! module), so a chain of cells, which needs no `unsafe`, does.

use std::sync::OnceLock;

/// An append-only list.
pub(super) struct Arena<T> {
    first: OnceLock<Box<Node<T>>>,
}

struct Node<T> {
    value: T,
    next: OnceLock<Box<Node<T>>>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena {
            first: OnceLock::new(),
        }
    }
}

impl<T> Arena<T> {
    /// Keeps `value` until the arena is dropped.
    pub(super) fn keep(&self, value: T) -> &T {
        let mut node = Box::new(Node {
            value,
            next: OnceLock::new(),
        });
        let mut end = &self.first;
        loop {
            while let Some(next) = end.get() {
                end = &next.next;
            }
            // Another thread may have taken this end in between: then go on from there.
            match end.set(node) {
                Ok(()) => break,
                Err(again) => node = again,
            }
        }
        &end.get().expect("this end was set just now").value
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        // By hand, as the derived drop of a chain recurses once a node.
        let mut next = self.first.take();
        while let Some(mut node) = next {
            next = node.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_where_it_is() {
        let arena = Arena::default();
        let kept: Vec<&String> = (0..100).map(|i| arena.keep(i.to_string())).collect();
        for (i, text) in kept.iter().enumerate() {
            assert_eq!(**text, i.to_string());
        }
    }
}
