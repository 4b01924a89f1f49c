//! What a trace vouches for: how complete and how exact it is.
//!
//! Every trace carries one, and every report and export shows it. A figure that is not zero where
//! it should be is no failure by itself: `--strict` makes it one.
//!
//! Traces keep it as JSON. A figure that an older trace has not is zero; one that a later version added
//! is passed over.

use serde::{Deserialize, Serialize};

use crate::output::grouped;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Events that the trace holds.
    pub events: u64,
    /// Events that the program made and the trace has not: dropped as `--overflow drop` allows.
    pub dropped_events: u64,
    /// Events whose call stack could not be followed to its end.
    pub truncated_stacks: u64,
    /// Distinct places in code for which no symbol is known.
    pub unnamed_sites: u64,
    /// Distinct places in code for which debug information was given up, as it is broken or lies.
    pub broken_debug_info: u64,
    /// Events emitted although something before them was never seen (a block from before tracing,
    /// or an order of threads that could not be found).
    pub unordered_events: u64,
    /// Lanes that somebody else wrote into: reading them ended there.
    pub damaged_lanes: u64,
    /// Programs that ran and could not be traced: path, and why.
    pub not_followed: Vec<NotFollowed>,
    /// Modules whose file was replaced while it was mapped: without names.
    pub replaced_modules: Vec<String>,
    /// What tracing cost the program.
    pub cost: Cost,
    /// Whether the file ends where its recording did. False: it was cut, and figures are of what is there.
    pub complete: bool,
}

/// A program that could not be traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotFollowed {
    /// Its path.
    pub program: String,
    /// Why, as a sentence.
    pub reason: String,
    /// How often it was started.
    pub times: u64,
}

/// What tracing cost the program. Figures that another version has are passed over: unlike those above,
/// none says that something is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// From the start of the program to the end of the last process, in nanoseconds.
    pub wall_ns: u64,
    /// Processor time of the traced processes, the hook's part included, in nanoseconds.
    pub target_cpu_ns: u64,
    /// Processor time of sntrace itself, in nanoseconds.
    pub launcher_cpu_ns: u64,
    /// What the hook took of the processor time of the traced processes, in nanoseconds: measured for one event
    /// in a hundred or so, and taken for all. 0: not known.
    pub hook_cpu_ns: u64,
    /// How long threads had to wait for sntrace to take their events, all added up, in nanoseconds.
    pub waited_ns: u64,
}

impl Certificate {
    /// Takes in what another run of the same program vouches for.
    pub fn add(&mut self, other: &Certificate) {
        self.events += other.events;
        self.dropped_events += other.dropped_events;
        self.truncated_stacks += other.truncated_stacks;
        // Places are those of one program: they don't add up.
        self.unnamed_sites = self.unnamed_sites.max(other.unnamed_sites);
        self.broken_debug_info = self.broken_debug_info.max(other.broken_debug_info);
        self.unordered_events += other.unordered_events;
        self.damaged_lanes += other.damaged_lanes;
        for program in &other.not_followed {
            let same = self.not_followed.iter_mut().find(|known| {
                (&known.program, &known.reason) == (&program.program, &program.reason)
            });
            match same {
                Some(known) => known.times += program.times,
                None => self.not_followed.push(program.clone()),
            }
        }
        for module in &other.replaced_modules {
            if !self.replaced_modules.contains(module) {
                self.replaced_modules.push(module.clone());
            }
        }
        self.cost.wall_ns += other.cost.wall_ns;
        self.cost.target_cpu_ns += other.cost.target_cpu_ns;
        self.cost.launcher_cpu_ns += other.cost.launcher_cpu_ns;
        self.cost.hook_cpu_ns += other.cost.hook_cpu_ns;
        self.cost.waited_ns += other.cost.waited_ns;
        self.complete &= other.complete;
    }

    /// What keeps the trace from being whole and exact, a sentence each; empty: nothing does.
    #[must_use]
    pub fn blemishes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |count: u64, one: &str, many: &str| {
            if count > 0 {
                let what = if count == 1 { one } else { many };
                found.push(format!("{} {what}", grouped(count)));
            }
        };
        say(
            self.dropped_events,
            "event was dropped",
            "events were dropped",
        );
        say(
            self.truncated_stacks,
            "event has a truncated stack",
            "events have truncated stacks",
        );
        say(
            self.unnamed_sites,
            "address has no name",
            "addresses have no names",
        );
        say(
            self.broken_debug_info,
            "address has broken debug information",
            "addresses have broken debug information",
        );
        say(
            self.unordered_events,
            "event stands without what must have come before it",
            "events stand without what must have come before them",
        );
        say(self.damaged_lanes, "lane was damaged", "lanes were damaged");
        for program in &self.not_followed {
            let times = match program.times {
                0 | 1 => String::new(),
                times => format!(" ({} times)", grouped(times)),
            };
            found.push(format!(
                "'{}' was not traced{times}: {}",
                program.program, program.reason
            ));
        }
        for module in &self.replaced_modules {
            found.push(format!(
                "'{module}' was replaced while it ran, and has no names"
            ));
        }
        if !self.complete {
            found.push("the trace was cut before its end".into());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blemish_is_told_and_nothing_else() {
        let clean = Certificate {
            events: 5,
            complete: true,
            ..Certificate::default()
        };
        assert_eq!(clean.blemishes(), Vec::<String>::new());
        let stained = Certificate {
            dropped_events: 1,
            truncated_stacks: 2,
            not_followed: vec![NotFollowed {
                program: "/bin/x".into(),
                reason: "it is static".into(),
                times: 3,
            }],
            complete: false,
            ..clean
        };
        assert_eq!(
            stained.blemishes(),
            [
                "1 event was dropped",
                "2 events have truncated stacks",
                "'/bin/x' was not traced (3 times): it is static",
                "the trace was cut before its end",
            ]
        );
    }
}
