//! Verdicts made for tests.

use std::path::PathBuf;

use super::*;
use crate::profile::Figures;

/// What is left to say of a site, after its stack and figures.
#[derive(Clone, Debug)]
pub struct More {
    pub state: SiteState,
    pub matched: Matched,
    pub unstable: bool,
}

impl Default for More {
    fn default() -> More {
        More {
            state: SiteState::Both,
            matched: Matched::ByName,
            unstable: false,
        }
    }
}

/// Names that try everything.
pub const EVIL: &str = "ev\x1b[31mil<int>|`\"'&]]>\n\u{202e}::größe\u{ffff}{0}@me";

pub fn options() -> ShowOptions {
    ShowOptions {
        top: 10,
        frames: 4,
        colour: Colour::Plain,
        width: 100,
        source_root: PathBuf::from("/home/me/app"),
    }
}

pub fn side(name: &str) -> Side {
    Side {
        name: name.into(),
        command: vec!["./build/app".into(), "--load".into(), "big.dat".into()],
        os: "linux".into(),
        arch: "x86_64".into(),
        revision: Some("4f2a9c1-dirty".into()),
        started: "2026-11-22T20:38:53.123456Z".into(),
        generator: "sntrace 0.0.9".into(),
        runs: 1,
        certificate: Certificate {
            events: 12_345,
            complete: true,
            ..Certificate::default()
        },
    }
}

/// Frames as `function @file:line in module`.
pub fn stack(frames: &[&str]) -> Vec<StackFrame> {
    let frame = |text: &&str| {
        let (text, module) = text
            .split_once(" in ")
            .unwrap_or((text, "/home/me/app/build/app"));
        let (function, place) = text.split_once(" @").unwrap_or((text, ""));
        let place = place.rsplit_once(':');
        StackFrame {
            function: function.into(),
            module: Some(module.into()),
            file: place.map(|(file, _)| file.into()),
            line: place.map(|(_, line)| line.parse().unwrap()),
        }
    };
    frames.iter().map(frame).collect()
}

/// So many allocations of so many bytes each, all of them live at the peak.
pub fn figures(allocations: u64, each: u64) -> Figures {
    Figures {
        allocations,
        bytes: allocations * each,
        peak_bytes: allocations * each,
        ..Figures::default()
    }
}

pub fn site(
    id: u64,
    frames: &[&str],
    base: &[Figures],
    head: &[Figures],
    more: More,
) -> SiteChange {
    SiteChange {
        id: format!("{id:016x}"),
        stack: stack(frames),
        state: more.state,
        matched: more.matched,
        base: Some(Measured::of(base)),
        head: Measured::of(head),
        unstable: more.unstable,
    }
}

pub fn totals(base: Option<&[Figures]>, head: &[Figures]) -> Vec<Change> {
    let (base, head) = (base.map(Measured::of), Measured::of(head));
    let change = |metric| Change {
        metric,
        base: base.map(|base| base.get(metric)),
        head: head.get(metric),
    };
    Metric::ALL.map(change).to_vec()
}

pub fn held(rule: &str, sentence: &str) -> Judged {
    Judged {
        rule: rule.into(),
        written: None,
        sentence: sentence.into(),
        failures: vec![],
    }
}

/// Nothing was asked for, and nothing differs.
pub fn same() -> Verdict {
    let figures = [figures(40, 100)];
    Verdict {
        question: Question::Diff,
        base: Some(side("old.snt")),
        head: side("new.snt"),
        notes: vec![],
        totals: totals(Some(&figures), &figures),
        rules: vec![],
        sites: vec![],
        unchanged_sites: 23,
    }
}

/// Three rules, all of which hold.
pub fn passing() -> Verdict {
    let rules = vec![
        held(
            "allocations>5%",
            "allocations grew by 2.5%, at most 5% are allowed",
        ),
        held("leaked_bytes>0", "no leaked bytes were added"),
        held("fn:inflate*:bytes>1K", "allocated bytes grew by 0 B"),
    ];
    let grown = site(
        7,
        &[
            "load @/home/me/app/src/load.c:12",
            "main @/home/me/app/src/main.c:5",
        ],
        &[figures(4, 10)],
        &[figures(5, 10)],
        More::default(),
    );
    Verdict {
        totals: totals(Some(&[figures(40, 10)]), &[figures(41, 10)]),
        rules,
        sites: vec![grown],
        ..same()
    }
}

/// Everything that a verdict can have.
pub fn failing() -> Verdict {
    let evil = format!("{EVIL} @/home/me/app/src/a b%.c:9 in /lib/e\x07|.so");
    let sites = vec![
        site(
            1,
            &[
                "std::vector<int>::reserve @/usr/include/c++/12/bits/vector.tcc:79",
                "decode @/home/me/app/src/../src/load.cpp:71",
                "load_all @/home/me/app/src/load.cpp:40",
                "run @/home/me/app/src/main.cpp:30",
                "main @/home/me/app/src/main.cpp:12",
            ],
            &[figures(10, 48)],
            &[figures(15, 48)],
            More {
                matched: Matched::Renamed(vec![("load_each".into(), "load_all".into())]),
                ..More::default()
            },
        ),
        site(
            2,
            &[&evil, "main @/home/me/app/src/main.cpp:12"],
            &[Figures::default()],
            &[figures(3, 1 << 20)],
            More {
                state: SiteState::New,
                ..More::default()
            },
        ),
        site(
            3,
            &["app+0x1010", "main"],
            &[figures(7, 16)],
            &[Figures::default()],
            More {
                state: SiteState::Gone,
                ..More::default()
            },
        ),
        site(
            4,
            &["drain @/home/me/app/src/queue.c:8", "main"],
            &[figures(100, 8)],
            &[figures(101, 8)],
            More {
                matched: Matched::Inlined(vec!["queue_pop".into(), "queue_peek".into()]),
                unstable: true,
                ..More::default()
            },
        ),
    ];
    let total = Change {
        metric: Metric::Allocations,
        base: Some(Spread::exactly(117)),
        head: Spread::exactly(119),
    };
    let grown = Judged {
        rule: "allocations>1%".into(),
        written: None,
        sentence: "allocations grew by 1.7%, at most 1% is allowed".into(),
        failures: vec![Failure {
            subject: Subject::Total,
            measured: Some(total),
            sentence: "allocations grew by 1.7%, at most 1% is allowed".into(),
            sites: vec![0, 1],
        }],
    };
    let failure = |name: &str, at: usize, site: &SiteChange| Failure {
        subject: Subject::Site(name.into()),
        measured: Some(site.change(Metric::Bytes)),
        sentence: format!("allocated bytes of {name} grew"),
        sites: vec![at],
    };
    let each = Judged {
        rule: "site:*:bytes>0".into(),
        written: None,
        sentence: "2 sites allocate more bytes".into(),
        failures: vec![failure(EVIL, 1, &sites[1]), failure("decode", 0, &sites[0])],
    };
    let mut base = side("old.snt");
    base.certificate.truncated_stacks = 2;
    Verdict {
        base: Some(base),
        notes: vec![format!("the commands differ: '{EVIL}' was run before")],
        totals: totals(Some(&[figures(117, 9)]), &[figures(119, 9)]),
        rules: vec![
            grown,
            held("leaked_bytes>0", "no leaked bytes were added"),
            each,
        ],
        sites,
        ..same()
    }
}

/// A budget, judged of five runs without a base: a rule about no site, and one about events.
pub fn checking() -> Verdict {
    let runs = [40, 42, 41, 40, 44].map(|allocations| figures(allocations, 100));
    let written = |line, column| {
        Some(Written {
            file: "ci/budget.toml".into(),
            line,
            column,
        })
    };
    let mut head = side("./build/app --load big.dat");
    head.runs = 5;
    head.certificate.dropped_events = 3;
    head.revision = None;
    let totals = totals(None, &runs);
    let over = Judged {
        rule: "totals.allocations".into(),
        written: written(4, 15),
        sentence: "41 allocations are more than the 30 of the budget".into(),
        failures: vec![Failure {
            subject: Subject::Total,
            measured: totals.first().copied(),
            sentence: "41 allocations are more than the 30 of the budget".into(),
            sites: vec![],
        }],
    };
    let lost = Judged {
        rule: "no events dropped".into(),
        written: None,
        sentence: "3 events are missing".into(),
        failures: vec![Failure {
            subject: Subject::Total,
            measured: None,
            sentence: "3 events are missing".into(),
            sites: vec![],
        }],
    };
    let zone = site(
        9,
        &[
            "push @src/ring.rs:0",
            "audio_callback @../vendor/audio.rs:3",
        ],
        &[],
        &runs,
        More {
            unstable: true,
            ..More::default()
        },
    );
    let zone = SiteChange { base: None, ..zone };
    let forbidden = Judged {
        rule: "no_alloc[0]".into(),
        written: written(9, 1),
        sentence: "audio_callback must not allocate, and does".into(),
        failures: vec![Failure {
            subject: Subject::Function("audio_callback".into()),
            measured: Some(zone.change(Metric::Allocations)),
            sentence: "audio_callback must not allocate, and does".into(),
            sites: vec![0],
        }],
    };
    Verdict {
        question: Question::Check,
        base: None,
        head,
        notes: vec!["allocations vary between runs of the same build".into()],
        totals,
        rules: vec![over, lost, forbidden],
        sites: vec![zone],
        unchanged_sites: 0,
    }
}

/// All of them, by name.
pub fn all() -> [(&'static str, Verdict); 4] {
    [
        ("same", same()),
        ("passing", passing()),
        ("failing", failing()),
        ("checking", checking()),
    ]
}
