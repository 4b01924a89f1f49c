//! Names matched by `*` and `?`.
//!
//! Only these two: names hold brackets and braces (`operator new[]`, templates) that must mean
//! themselves. Matching backs up to the last `*` alone, so its time is bounded by the product of
//! the lengths, whatever the pattern.

/// A pattern for a whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: String,
}

impl Glob {
    /// Any text is a pattern; one without `*` and `?` matches itself.
    #[must_use]
    pub fn new(pattern: String) -> Glob {
        Glob { pattern }
    }

    /// As it was written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether it can only match a path with folders.
    #[must_use]
    pub fn has_slash(&self) -> bool {
        self.pattern.contains(['/', '\\'])
    }

    /// Whether the whole name is what the pattern describes.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut rest) = (self.pattern.chars(), name.chars());
        // After the last `*`, and what it has not swallowed yet.
        let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let rest_before = rest.clone();
            match (pattern.next(), rest.next()) {
                (Some('*'), _) => {
                    rest = rest_before;
                    retry = Some((pattern.clone(), rest.clone()));
                }
                (Some('?'), Some(_)) => {}
                (Some(wanted), Some(found)) if wanted == found => {}
                (None, None) => return true,
                (_, found) => {
                    // The last `*` swallows one character more, if there is one.
                    let Some((after, left)) = &mut retry else {
                        return false;
                    };
                    if found.is_none() || left.next().is_none() {
                        return false;
                    }
                    pattern = after.clone();
                    rest = left.clone();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, as slow as it is short.
    fn defined(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                defined(rest, name) || (!name.is_empty() && defined(pattern, &name[1..]))
            }
            (['?', pattern @ ..], [_, name @ ..]) => defined(pattern, name),
            ([wanted, pattern @ ..], [found, name @ ..]) => {
                wanted == found && defined(pattern, name)
            }
            _ => false,
        }
    }

    #[test]
    fn brackets_mean_themselves() {
        assert!(Glob::new("operator new[]".into()).matches("operator new[]"));
        assert!(!Glob::new("[ab]".into()).matches("a"));
        assert!(Glob::new("größ?".into()).matches("größe"));
    }

    #[test]
    fn many_stars_do_not_take_long() {
        assert!(!Glob::new("a*".repeat(40) + "b").matches(&"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn a_match_is_what_it_is_defined_to_be(pattern in "[ab*?]{0,8}", name in "[abc]{0,10}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                Glob::new(pattern.clone()).matches(&name),
                defined(&characters(&pattern), &characters(&name))
            );
        }
    }
}
