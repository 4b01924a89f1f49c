//! Folded stacks: `main;load;parse 4096`, a line each, outer to inner.
//!
//! flamegraph.pl, inferno, speedscope and others read it. The number is the metric that was chosen;
//! stacks without any are left out. Stacks that differ only in lines and addresses are one here, as
//! names are all that the format has. `;` in a name stands as `:`, which is what the tools that write
//! this format do. There is no place for a certificate: a line more would be a stack more.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::output::{Summary, escape};
use crate::trace::{Recording, SiteId, StackId, StackTable};

use super::ExportOptions;
use super::aggregate::{Aggregate, AggregateExporter};
use super::frames;

/// An exporter of it.
pub fn exporter<'r>(
    recording: &'r dyn Recording,
    options: &ExportOptions,
) -> AggregateExporter<'r> {
    AggregateExporter::new(recording, options, write)
}

fn write(aggregate: &Aggregate<'_>, _: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let tables = aggregate.recording.tables();
    // A tree of names in place of sites: it takes no more memory than the tree of stacks.
    let mut names: HashMap<Arc<str>, SiteId> = HashMap::new();
    let mut by_name: Vec<Arc<str>> = Vec::new();
    let mut tree = StackTable::default();
    let mut values: Vec<u64> = Vec::new();
    for (stack, totals) in aggregate.tally.rows() {
        let value = aggregate.options.metric.of_stack(&totals);
        if value == 0 {
            continue;
        }
        let mut node = StackId::EMPTY;
        for (site, level) in frames::outer_to_inner(tables, stack) {
            let shown = escape::shown(&tables.function_name(site, level)).replace(';', ":");
            let name = match names.get(shown.as_str()) {
                Some(&known) => known,
                None => {
                    let new = SiteId(by_name.len() as u32);
                    let shared = Arc::<str>::from(shown);
                    by_name.push(shared.clone());
                    names.insert(shared, new);
                    new
                }
            };
            node = tree.intern(node, name);
        }
        let at = node.0 as usize;
        if values.len() <= at {
            values.resize(at + 1, 0);
        }
        values[at] = values[at].saturating_add(value);
    }
    for (node, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let mut path: Vec<_> = tree.frames(StackId(node as u32)).collect();
        path.reverse();
        for (at, name) in path.iter().enumerate() {
            if at > 0 {
                out.write_all(b";")?;
            }
            out.write_all(by_name[name.0 as usize].as_bytes())?;
        }
        writeln!(out, " {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};

    /// As flamegraph.pl takes a line apart.
    fn parse(text: &str) -> Vec<(Vec<&str>, u64)> {
        text.lines()
            .map(|line| {
                let (stack, value) = line.rsplit_once(' ').unwrap();
                (stack.split(';').collect(), value.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn sums_are_the_summary_for_every_metric() {
        let recording = samples::recording();
        let summary = samples::summary(&recording);
        for metric in Metric::ALL {
            let text = String::from_utf8(exported(Format::Folded, &recording, metric)).unwrap();
            let sum: u64 = parse(&text).iter().map(|(_, value)| value).sum();
            assert_eq!(sum, metric.of_run(&summary), "{metric:?}");
            assert!(sum > 0, "{metric:?}");
        }
    }

    #[test]
    fn stacks_go_from_outer_to_inner_and_names_are_safe() {
        let recording = samples::recording();
        let text = exported(Format::Folded, &recording, Metric::Allocations);
        let text = String::from_utf8(text).unwrap();
        let lines = parse(&text);
        let load = ["main", "load:two words", "inner<int>(int)"];
        assert_eq!(lines.iter().filter(|(stack, _)| *stack == load).count(), 1);
        assert!(lines.iter().any(|(stack, _)| stack[0] == "[truncated]"));
        assert!(lines.iter().any(|(stack, _)| *stack == ["???"]));
        assert!(
            !text
                .chars()
                .any(|c| c != '\n' && crate::output::escape::is_hidden(c))
        );
    }

    #[test]
    fn a_run_without_allocations_has_no_lines() {
        assert_eq!(
            exported(Format::Folded, &samples::empty(), Metric::Allocations),
            b""
        );
    }
}
