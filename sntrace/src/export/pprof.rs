//! pprof: a gzipped `profile.proto`, as `go tool pprof`, Pyroscope, Parca and speedscope read it.
//!
//! Four values a stack, under the names that Go's heap profiles have: `alloc_objects`, `alloc_space`,
//! `inuse_objects`, `inuse_space`; in use is what was live when its process ended: the leaks. A fifth
//! and sixth are live at the peak (`peak_objects`, `peak_space`), the last counts temporary
//! allocations (`temporary_objects`).
//!
//! Addresses are the files' own numbering, of the byte before the return address, so that a tool that
//! names them anew asks for the call. Mappings begin at 0 for the same reason, and are said to have
//! all names. Functions that were inlined are lines of their location. The certificate stands in the
//! comments.
//!
//! Messages are declared here, by the field numbers of the published `profile.proto`
//! (<https://github.com/google/pprof/blob/main/proto/profile.proto>). The profile is built in memory:
//! it grows with distinct stacks.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::output::{Summary, escape};
use crate::trace::{Recording, SiteId, Tables};

use super::aggregate::{Aggregate, AggregateExporter};
use super::{ExportOptions, Metric, frames, provenance};

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Values of a sample, in their order: name, unit, and the metric that asks for it.
const VALUES: [(&str, &str, Option<Metric>); 7] = [
    ("alloc_objects", "count", Some(Metric::Allocations)),
    ("alloc_space", "bytes", Some(Metric::AllocatedBytes)),
    ("inuse_objects", "count", None),
    ("inuse_space", "bytes", Some(Metric::LeakedBytes)),
    ("peak_objects", "count", None),
    ("peak_space", "bytes", Some(Metric::PeakBytes)),
    ("temporary_objects", "count", Some(Metric::Temporary)),
];

/// An exporter of it.
pub fn exporter<'r>(
    recording: &'r dyn Recording,
    options: &ExportOptions,
) -> AggregateExporter<'r> {
    AggregateExporter::new(recording, options, write)
}

fn write(aggregate: &Aggregate<'_>, _: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let profile = Builder::new(aggregate.recording).profile(aggregate);
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&profile.encode_to_vec())?;
    gzip.finish()?.flush()
}

struct Builder<'r> {
    tables: &'r Tables,
    recording: &'r dyn Recording,
    profile: Profile,
    strings: HashMap<Arc<str>, i64>,
    /// By name and file.
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<SiteId, u64>,
}

impl<'r> Builder<'r> {
    fn new(recording: &'r dyn Recording) -> Self {
        let mut builder = Self {
            tables: recording.tables(),
            recording,
            profile: Profile::default(),
            strings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        // The format wants the empty string first.
        builder.string("");
        builder
    }

    fn profile(mut self, aggregate: &Aggregate<'_>) -> Profile {
        for (name, unit, metric) in VALUES {
            let (r#type, unit) = (self.string(name), self.string(unit));
            self.profile.sample_type.push(ValueType { r#type, unit });
            if metric == Some(aggregate.options.metric) {
                self.profile.default_sample_type = r#type;
            }
        }
        let (r#type, unit) = (self.string("space"), self.string("bytes"));
        self.profile.period_type = Some(ValueType { r#type, unit });
        self.profile.period = 1;
        self.profile.time_nanos =
            number(provenance::started_ns(self.recording).unwrap_or_default());
        self.profile.duration_nanos = number(aggregate.end_ns);
        let command = format!("command: {}", provenance::command(self.recording));
        for line in std::iter::once(command).chain(provenance::lines(self.recording)) {
            let comment = self.string(&line);
            self.profile.comment.push(comment);
        }
        self.mappings();
        for (stack, totals) in aggregate.tally.rows() {
            let tables = self.tables;
            let sample = Sample {
                location_id: frames::sites_of(tables, stack)
                    .map(|site| self.location(site))
                    .collect(),
                value: [
                    totals.allocations,
                    totals.bytes,
                    totals.leaked_blocks,
                    totals.leaked_bytes,
                    totals.peak_blocks,
                    totals.peak_bytes,
                    totals.temporary,
                ]
                .map(number)
                .into(),
            };
            self.profile.sample.push(sample);
        }
        self.profile
    }

    fn mappings(&mut self) {
        // A mapping is not empty, also of a file in which no place is known.
        let mut limits = vec![1; self.tables.files.len()];
        for site in &self.tables.sites {
            if let Some(limit) = site.file.and_then(|file| limits.get_mut(file.0 as usize)) {
                *limit = site.address.saturating_add(1).max(*limit);
            }
        }
        let files = &self.tables.files;
        for (id, (file, memory_limit)) in (1..).zip(files.iter().zip(limits)) {
            let build_id: String = file.build_id.iter().map(|b| format!("{b:02x}")).collect();
            let filename = self.string(&escape::shown(&file.path));
            let build_id = self.string(&build_id);
            self.profile.mapping.push(Mapping {
                id,
                memory_start: 0,
                memory_limit,
                filename,
                build_id,
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            });
        }
    }

    fn location(&mut self, site: SiteId) -> u64 {
        if let Some(&known) = self.locations.get(&site) {
            return known;
        }
        let place = self.tables.site(site);
        let id = self.profile.location.len() as u64 + 1;
        let line = (0..self.tables.depth_of(site))
            .map(|level| {
                let (file, line) = self.tables.location(site, level).unwrap_or_default();
                let name = self.tables.function_name(site, level);
                Line {
                    function_id: self.function(&escape::shown(&name), &escape::shown(file)),
                    line: line.into(),
                }
            })
            .collect();
        let mapping_id = place
            .file
            .filter(|file| (file.0 as usize) < self.tables.files.len())
            .map_or(0, |file| u64::from(file.0) + 1);
        self.profile.location.push(Location {
            id,
            mapping_id,
            address: place.address.saturating_sub(1),
            line,
        });
        self.locations.insert(site, id);
        id
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.string(name), self.string(file));
        let functions = &mut self.profile.function;
        *self.functions.entry((name, filename)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            functions.push(Function {
                id,
                name,
                system_name: name,
                filename,
            });
            id
        })
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&known) = self.strings.get(text) {
            return known;
        }
        let number = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.into());
        self.strings.insert(text.into(), number);
        number
    }
}

/// The format's numbers are signed.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::samples::{self, exported};
    use super::*;
    use std::io::Read;

    fn read(recording: &dyn Recording, metric: Metric) -> Profile {
        let gzip = exported(Format::Pprof, recording, metric);
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..])
            .read_to_end(&mut bytes)
            .unwrap();
        Profile::decode(&bytes[..]).unwrap()
    }

    #[test]
    fn sums_are_the_summary() {
        let recording = samples::recording();
        let profile = read(&recording, Metric::PeakBytes);
        let summary = samples::summary(&recording);
        let sum = |name: &str| -> u64 {
            let at = profile
                .sample_type
                .iter()
                .position(|kind| profile.string_table[kind.r#type as usize] == name)
                .unwrap();
            profile
                .sample
                .iter()
                .map(|sample| sample.value[at] as u64)
                .sum()
        };
        assert_eq!(sum("alloc_objects"), summary.allocations);
        assert_eq!(sum("alloc_space"), summary.bytes_allocated);
        assert_eq!(sum("inuse_objects"), summary.leaked_allocations);
        assert_eq!(sum("inuse_space"), summary.leaked_bytes);
        assert_eq!(sum("peak_space"), summary.peak_bytes);
        assert_eq!(sum("temporary_objects"), summary.temporary_allocations);
        let default = &profile.string_table[profile.default_sample_type as usize];
        assert_eq!(default, "peak_space");
    }

    /// What `CheckValid` of Go's package demands.
    #[test]
    fn all_numbers_lead_somewhere() {
        let profile = read(&samples::recording(), Metric::LeakedBytes);
        let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
        assert_eq!(text(0), "");
        let comments: Vec<_> = profile.comment.iter().map(|at| text(*at)).collect();
        assert!(comments.iter().any(|line| line.starts_with("certificate:")));
        for (at, mapping) in profile.mapping.iter().enumerate() {
            assert_eq!(mapping.id, at as u64 + 1);
            assert!(mapping.memory_start < mapping.memory_limit);
        }
        assert_eq!(text(profile.mapping[0].build_id), "0aff");
        for (at, function) in profile.function.iter().enumerate() {
            assert_eq!(function.id, at as u64 + 1);
            assert!(!text(function.name).is_empty());
            assert!(!text(function.name).chars().any(escape::is_hidden));
        }
        for (at, location) in profile.location.iter().enumerate() {
            assert_eq!(location.id, at as u64 + 1);
            assert!(location.mapping_id <= profile.mapping.len() as u64);
            for line in &location.line {
                assert!((1..=profile.function.len() as u64).contains(&line.function_id));
            }
        }
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), profile.sample_type.len());
            assert!(!sample.location_id.is_empty());
            for id in &sample.location_id {
                assert!((1..=profile.location.len() as u64).contains(id));
            }
        }
        // Inner to outer, with the inlined one first and the address of the call.
        let inlined = profile.location.iter().find(|l| l.line.len() == 2).unwrap();
        let names = inlined.line.iter().map(|line| {
            let function = &profile.function[line.function_id as usize - 1];
            (text(function.name), line.line)
        });
        assert_eq!(
            names.collect::<Vec<_>>(),
            [("inner<int>(int)", 21), ("load;two words", 22)]
        );
        assert_eq!(inlined.address, 0x101f);
    }

    #[test]
    fn a_run_without_allocations_is_a_profile() {
        let profile = read(&samples::empty(), Metric::Allocations);
        assert_eq!(profile.sample.len(), 0);
        assert_eq!(profile.sample_type.len(), 7);
    }
}
