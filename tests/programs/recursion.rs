//! Blocks at changing depths of a Rust program: recursion, iterators, trait objects, panics that are
//! caught.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

trait Visit {
    fn visit(&self, depth: usize) -> String;
}

struct Plain;
struct Mapped(Vec<usize>);

impl Visit for Plain {
    #[inline(never)]
    fn visit(&self, depth: usize) -> String {
        format!("{}{}", depth, descend(depth))
    }
}

impl Visit for Mapped {
    #[inline(never)]
    fn visit(&self, depth: usize) -> String {
        let parts = self.0.iter().map(|&part| if part == 1 { descend(depth) } else { part.to_string() });
        parts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("/")
    }
}

#[inline(never)]
fn descend(depth: usize) -> String {
    let Some(next) = depth.checked_sub(1) else {
        return "end".to_owned();
    };
    let visitor: Box<dyn Visit> = if depth % 3 == 0 { Box::new(Plain) } else { Box::new(Mapped(vec![0, 1, 2])) };
    visitor.visit(next)
}

#[inline(never)]
fn sorted(depth: usize) -> usize {
    let mut words: Vec<String> = (0..20).map(|number| format!("{:>width$}", number * 7 % 20, width = depth % 30)).collect();
    words.sort_by_key(|word| word.chars().rev().collect::<String>());
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.trim().len()).or_insert(0) += 1;
    }
    counts.len()
}

#[inline(never)]
fn panics(depth: usize) -> String {
    if depth == 0 {
        std::panic::resume_unwind(Box::new(String::from("expected")));
    }
    let kept = vec![depth; depth];
    panics(depth - 1) + &kept.len().to_string()
}

fn main() {
    let mut total = 0;
    for round in 0..60 {
        total += descend(round % 40).len() + sorted(round);
        let caught = catch_unwind(AssertUnwindSafe(|| panics(round)));
        total += caught.map_or(1, |text| text.len());
    }
    let thread = std::thread::spawn(|| descend(200).len());
    total += thread.join().unwrap();
    println!("total={total}");
}
