//! What makes a failure the same in the next verdict, for services that follow it over time.
//!
//! A service that knows a failure again says that it is old, or that it is fixed. So an identity has what a
//! failure is about and none of its figures, sentences and places.

use std::collections::HashMap;

use super::{Failure, Judged, Subject, Verdict};

/// Identities within one verdict: no two are the same.
#[derive(Default)]
pub(super) struct Identities(HashMap<u64, u64>);

impl Identities {
    /// Of the next failure, 16 hexadecimal digits. To be asked in the order of the verdict.
    pub fn next(&mut self, verdict: &Verdict, rule: &Judged, failure: &Failure) -> String {
        let site = match &failure.subject {
            // Several sites have the same name: their stacks differ.
            Subject::Site(_) => verdict.blamed(failure).next(),
            _ => None,
        };
        let parts = [
            rule.rule.as_str(),
            failure.subject.kind(),
            failure.subject.name().unwrap_or_default(),
            site.map_or("", |(site, _)| site.id.as_str()),
        ];
        let hash = fnv1a(&parts);
        // A rule may be given twice.
        let times = self.0.entry(hash).or_default();
        *times += 1;
        match *times {
            1 => format!("{hash:016x}"),
            times => {
                let again = fnv1a(&[&format!("{hash:016x}"), &times.to_string()]);
                format!("{again:016x}")
            }
        }
    }
}

/// FNV-1a in 64 bits, with a zero byte after each part: it must be the same in every build of sntrace,
/// which the standard library's hash is not.
fn fnv1a(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for &byte in part.as_bytes().iter().chain(&[0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
