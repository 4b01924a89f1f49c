//! Which known word a mistyped one may have meant.

/// The known word nearest to this one, if it is near: of three letters one may be wrong, missing, too
/// many, or in its neighbour's place. Capitals and hyphens don't count.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let word: Vec<char> = word
        .chars()
        .map(|character| match character {
            '-' | ' ' => '_',
            other => other.to_ascii_lowercase(),
        })
        .collect();
    // A longer word is near to none, and comparing takes the product of the lengths.
    let longest = known.iter().map(|name| name.len()).max()? * 2;
    if word.len() > longest {
        return None;
    }
    let distances = known
        .iter()
        .map(|name| (distance(&word, &name.chars().collect::<Vec<_>>()), *name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= name.len()).then_some(name)
}

/// How many letters must be put in, left out, replaced or exchanged with their neighbour (optimal string
/// alignment).
fn distance(one: &[char], other: &[char]) -> usize {
    let width = other.len() + 1;
    let mut rows: Vec<Vec<usize>> = vec![(0..width).collect()];
    for (row, letter) in (1..).zip(one) {
        let mut this = vec![row; width];
        for column in 1..width {
            let differs = usize::from(*letter != other[column - 1]);
            let kept = rows[row - 1][column - 1] + differs;
            let moved = this[column - 1].min(rows[row - 1][column]) + 1;
            let mut least = kept.min(moved);
            let exchanged = row > 1
                && column > 1
                && one[row - 2] == other[column - 1]
                && *letter == other[column - 2];
            if exchanged {
                least = least.min(rows[row - 2][column - 2] + 1);
            }
            this[column] = least;
        }
        rows.push(this);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["allocations", "bytes", "peak_bytes"];
        for (word, meant) in [
            ("alocations", Some("allocations")),
            ("allocation", Some("allocations")),
            ("btyes", Some("bytes")),
            ("Bytes", Some("bytes")),
            ("peak-bytes", Some("peak_bytes")),
            ("time", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(1000), &known), None);
        assert_eq!(nearest("a", &[]), None);
    }
}
