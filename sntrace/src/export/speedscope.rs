//! speedscope's own JSON, for <https://www.speedscope.app>.
//!
//! A profile a metric, of those that are not zero; the chosen one is shown first. A sample is a stack,
//! its weight the figure: the order of samples means nothing here, so the views to look at are
//! "Left Heavy" and "Sandwich". Keeps to the published schema
//! (<https://www.speedscope.app/file-format-schema.json>). The certificate stands in the file's name,
//! which is shown on top: the format has no other place.

use std::io::{self, Write};

use crate::output::number::decimal;
use crate::output::{Summary, escape};
use crate::trace::Recording;

use super::aggregate::{Aggregate, AggregateExporter};
use super::frames::Frames;
use super::{ExportOptions, Metric, frames, provenance};

/// An exporter of it.
pub fn exporter<'r>(
    recording: &'r dyn Recording,
    options: &ExportOptions,
) -> AggregateExporter<'r> {
    AggregateExporter::new(recording, options, write)
}

fn write(aggregate: &Aggregate<'_>, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let recording = aggregate.recording;
    let tables = recording.tables();
    let mut row = Vec::new();
    row.extend_from_slice(
        b"{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\n\"exporter\":",
    );
    escape::json(&mut row, provenance::GENERATOR);
    row.extend_from_slice(b",\n\"name\":");
    let mut name = provenance::command(recording);
    for line in provenance::certificate(recording.certificate()) {
        name.push_str("; ");
        name.push_str(&line);
    }
    escape::json(&mut row, &name);

    let chosen = aggregate.options.metric;
    let metrics: Vec<_> = Metric::ALL
        .into_iter()
        .filter(|metric| *metric == chosen || metric.of_run(summary) > 0)
        .collect();
    let active = metrics.iter().position(|metric| *metric == chosen);
    row.extend_from_slice(b",\n\"activeProfileIndex\":");
    decimal(&mut row, active.unwrap_or_default() as u64);
    row.extend_from_slice(b",\n\"profiles\":[");
    out.write_all(&row)?;
    let mut listed = Frames::default();
    for (at, metric) in metrics.into_iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        write_profile(aggregate, metric, &mut listed, out)?;
    }
    out.write_all(b"],\n\"shared\":{\"frames\":[")?;
    for (at, &(site, level)) in listed.all().iter().enumerate() {
        row.clear();
        row.extend_from_slice(if at == 0 {
            b"\n{\"name\":"
        } else {
            b",\n{\"name\":"
        });
        escape::json(&mut row, &tables.function_name(site, level));
        match (tables.location(site, level), tables.file_of(site)) {
            (Some((file, line)), _) => {
                row.extend_from_slice(b",\"file\":");
                escape::json(&mut row, file);
                row.extend_from_slice(b",\"line\":");
                decimal(&mut row, line.into());
            }
            (None, Some(module)) => {
                row.extend_from_slice(b",\"file\":");
                escape::json(&mut row, &module.path);
            }
            (None, None) => {}
        }
        row.push(b'}');
        out.write_all(&row)?;
    }
    out.write_all(b"]}}\n")
}

fn write_profile(
    aggregate: &Aggregate<'_>,
    metric: Metric,
    listed: &mut Frames,
    out: &mut dyn Write,
) -> io::Result<()> {
    let tables = aggregate.recording.tables();
    let rows = || {
        aggregate
            .tally
            .rows()
            .map(|(stack, totals)| (stack, metric.of_stack(&totals)))
            .filter(|(_, value)| *value > 0)
    };
    let mut row = Vec::new();
    row.extend_from_slice(b"\n{\"type\":\"sampled\",\"name\":");
    escape::json(&mut row, metric.description());
    row.extend_from_slice(if metric.is_bytes() {
        b",\"unit\":\"bytes\""
    } else {
        b",\"unit\":\"none\""
    });
    row.extend_from_slice(b",\"startValue\":0,\"endValue\":");
    let sum = rows().fold(0, |sum: u64, (_, value)| sum.saturating_add(value));
    decimal(&mut row, sum);
    row.extend_from_slice(b",\"samples\":[");
    out.write_all(&row)?;
    for (at, (stack, _)) in rows().enumerate() {
        row.clear();
        row.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        for (at, frame) in frames::outer_to_inner(tables, stack)
            .into_iter()
            .enumerate()
        {
            if at > 0 {
                row.push(b',');
            }
            decimal(&mut row, listed.number(frame).into());
        }
        row.push(b']');
        out.write_all(&row)?;
    }
    out.write_all(b"],\"weights\":[")?;
    for (at, (_, value)) in rows().enumerate() {
        row.clear();
        if at > 0 {
            row.push(b',');
        }
        decimal(&mut row, value);
        out.write_all(&row)?;
    }
    out.write_all(b"]}")
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{self, exported};
    use super::*;
    use crate::output::json::tests::assert_valid;
    use serde_json::Value;

    /// speedscope's own schema, and where it comes from: `tests/fixtures/schemas`.
    const SCHEMA: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/schemas/speedscope-file-format-schema.json"
    ));

    fn schema() -> jsonschema::Validator {
        jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap()
    }

    /// An export, which keeps to the schema.
    fn document(recording: &dyn Recording, metric: Metric) -> Value {
        let document = serde_json::from_slice(&exported(Format::Speedscope, recording, metric));
        let document = document.unwrap();
        assert_valid(&schema(), &document);
        document
    }

    /// Else every document would be valid.
    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let right = document(&samples::recording(), Metric::PeakBytes);
        let schema = schema();
        for (place, wrong) in [
            ("/$schema", Value::from("https://example.org/other.json")),
            ("/profiles/0/type", "counted".into()),
            ("/profiles/0/unit", "byte".into()),
            ("/profiles/0/endValue", "1".into()),
            ("/profiles/0/samples/0", 1.into()),
            ("/profiles/0/weights", Value::Null),
            ("/shared/frames/0/name", 1.into()),
            ("/shared/frames/0/line", "1".into()),
        ] {
            let mut document = right.clone();
            *document.pointer_mut(place).unwrap() = wrong;
            assert!(!schema.is_valid(&document), "{place}");
        }
    }

    #[test]
    fn every_profile_sums_up_to_the_summary() {
        let recording = samples::recording();
        let summary = samples::summary(&recording);
        for chosen in Metric::ALL {
            let document = document(&recording, chosen);
            let profiles = document["profiles"].as_array().unwrap();
            assert_eq!(profiles.len(), Metric::ALL.len());
            for (metric, profile) in Metric::ALL.into_iter().zip(profiles) {
                let weights = profile["weights"].as_array().unwrap();
                assert_eq!(weights.len(), profile["samples"].as_array().unwrap().len());
                let sum: u64 = weights.iter().map(|w| w.as_u64().unwrap()).sum();
                assert_eq!(sum, metric.of_run(&summary));
                assert_eq!(profile["endValue"], sum);
            }
            let active = document["activeProfileIndex"].as_u64().unwrap() as usize;
            assert_eq!(profiles[active]["name"], chosen.description());
        }
    }

    #[test]
    fn samples_lead_to_frames_from_outer_to_inner() {
        let document = document(&samples::recording(), Metric::Allocations);
        let frames = document["shared"]["frames"].as_array().unwrap();
        let profile = document["profiles"].as_array().unwrap().iter();
        let samples = profile.flat_map(|p| p["samples"].as_array().unwrap());
        let names: Vec<Vec<&str>> = samples
            .map(|sample| {
                let frames = sample.as_array().unwrap().iter().map(|at| {
                    let frame = &frames[at.as_u64().unwrap() as usize];
                    frame["name"].as_str().unwrap()
                });
                frames.collect()
            })
            .collect();
        assert!(names.contains(&vec!["main", "load;two words", "inner<int>(int)"]));
        assert!(names.iter().any(|stack| stack[0] == "[truncated]"));
        let name = document["name"].as_str().unwrap();
        assert!(name.contains("truncated"), "{name}");
    }

    #[test]
    fn a_run_without_allocations_has_the_chosen_profile() {
        let document = document(&samples::empty(), Metric::LeakedBytes);
        assert_eq!(document["profiles"].as_array().unwrap().len(), 1);
        assert_eq!(document["profiles"][0]["endValue"], 0);
    }
}
