//! What each format makes of verdicts that have everything, and that its readers can read it.

use std::io::Write;

use serde_json::Value;

use super::samples::{EVIL, all, checking, failing, options, passing, same};
use super::*;
use crate::output::escape;

fn shown_with(verdict: &Verdict, format: Format, options: &ShowOptions) -> String {
    let mut out = Vec::new();
    write(verdict, format, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn shown(verdict: &Verdict, format: Format) -> String {
    shown_with(verdict, format, &options())
}

fn as_json(verdict: &Verdict, format: Format) -> Value {
    serde_json::from_str(&shown(verdict, format)).unwrap()
}

/// A file of this repository.
fn file(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

fn errors(schema: &str, document: &Value) -> Vec<String> {
    let schema = std::fs::read_to_string(file(schema)).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let errors = validator.iter_errors(document);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn assert_valid(schema: &str, document: &Value) {
    let errors = errors(schema, document);
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

const VERDICT: &str = "docs/verdict.schema.json";
const SARIF: &str = "tests/fixtures/schemas/sarif-schema-2.1.0.json";
const CODE_QUALITY: &str = "tests/fixtures/schemas/gitlab-code-quality.json";

/// A schema that takes everything would let every test pass.
#[test]
fn the_schemas_refuse_what_is_wrong() {
    for (schema, format, place) in [
        (VERDICT, Format::Json, "/sites/0/head/bytes"),
        (SARIF, Format::Sarif, "/runs/0/results/0/locations/0"),
        (CODE_QUALITY, Format::Gitlab, "/0/location"),
    ] {
        let mut document = as_json(&failing(), format);
        document.pointer_mut(place).unwrap()["wrong"] = true.into();
        assert_eq!(errors(schema, &document).len(), 1, "{schema}");
    }
}

#[test]
fn formats_are_found_by_their_names_and_help_is_a_sentence() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
        let help = format.description();
        assert!(help.ends_with('.') && help.len() <= 70, "{help}");
    }
    assert_eq!(Format::from_name("xml"), None);
}

#[test]
fn every_format_shows_what_it_should() {
    for (name, verdict) in all() {
        for format in Format::ALL {
            // The version is no part of what is shown here.
            let text = shown(&verdict, format)
                .replace(
                    concat!("\"", env!("CARGO_PKG_VERSION"), "\""),
                    "\"VERSION\"",
                )
                .replace(
                    concat!("sntrace ", env!("CARGO_PKG_VERSION")),
                    "sntrace VERSION",
                );
            insta::assert_snapshot!(format!("{name}.{}", format.name()), text);
        }
    }
}

#[test]
fn json_is_as_its_schema_says() {
    for (_, verdict) in all() {
        assert_valid(VERDICT, &as_json(&verdict, Format::Json));
    }
}

#[test]
fn json_has_everything_exactly() {
    let mut verdict = failing();
    let [first, ..] = &mut *verdict.totals else {
        unreachable!()
    };
    (first.base, first.head) = (Some(Spread::exactly(0)), Spread::exactly(u64::MAX));
    let options = ShowOptions {
        top: 1,
        ..options()
    };
    let document = shown_with(&verdict, Format::Json, &options);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        document["sites"].as_array().unwrap().len(),
        verdict.sites.len()
    );
    assert_eq!(document["totals"][0]["delta"], u64::MAX);
    assert_eq!(document["totals"][0]["delta_percent"], Value::Null);
    assert_eq!(document["sites"][1]["stack"][0]["function"], EVIL);
    assert_eq!(document["sites"][0]["head"]["bytes"]["median"], 15 * 48);
    assert_eq!(
        as_json(&checking(), Format::Json)["format"],
        "sntrace-check"
    );
}

#[test]
fn sarif_is_as_the_standard_says() {
    for (_, verdict) in all() {
        let document = as_json(&verdict, Format::Sarif);
        assert_valid(SARIF, &document);
        let failures = verdict.rules.iter().flat_map(|rule| &rule.failures).count();
        let run = &document["runs"][0];
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), failures);
        for result in results {
            let rule = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
        }
    }
}

#[test]
fn code_quality_reports_are_as_gitlab_documents_them() {
    for (_, mut verdict) in all() {
        // A rule that is given twice, and a program that is nowhere in the repository.
        verdict.rules.extend(verdict.rules.clone());
        verdict.head.command = vec!["/usr/bin/app".into()];
        let document = as_json(&verdict, Format::Gitlab);
        assert_valid(CODE_QUALITY, &document);
        let entries = document.as_array().unwrap().iter();
        let mut fingerprints: Vec<_> = entries
            .map(|e| e["fingerprint"].as_str().unwrap())
            .collect();
        let all = fingerprints.len();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), all);
    }
}

#[test]
fn a_fingerprint_outlives_figures() {
    let fingerprints = |verdict: &Verdict| -> Vec<Value> {
        let document = as_json(verdict, Format::Gitlab);
        let entries = document.as_array().unwrap().iter();
        entries.map(|entry| entry["fingerprint"].clone()).collect()
    };
    let mut later = failing();
    for failure in later.rules.iter_mut().flat_map(|rule| &mut rule.failures) {
        failure.sentence += ", and again";
        failure.measured = None;
    }
    for frame in later.sites.iter_mut().flat_map(|site| &mut site.stack) {
        frame.line = Some(1);
    }
    assert_eq!(fingerprints(&failing()), fingerprints(&later));
}

/// xmllint is in Debian's libxml2-utils, which scripts/install-test-tools.sh installs.
#[cfg(unix)]
#[test]
fn junit_is_as_jenkins_takes_it() {
    use std::process::{Command, Stdio};
    for (name, verdict) in all() {
        let document = shown(&verdict, Format::Junit);
        let mut xmllint = Command::new("xmllint")
            .args(["--noout", "--nonet", "--schema"])
            .arg(file("tests/fixtures/schemas/junit-10.xsd"))
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("xmllint is missing: run scripts/install-test-tools.sh");
        let mut stdin = xmllint.stdin.take().unwrap();
        stdin.write_all(document.as_bytes()).unwrap();
        drop(stdin);
        let result = xmllint.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{name}: {said}\n{document}");
    }
}

#[test]
fn names_reach_no_reader_raw() {
    for (name, mut verdict) in all() {
        verdict.head.command.push(EVIL.into());
        verdict.head.started = "\x1b[0m".into();
        for format in Format::ALL {
            let text = shown(&verdict, format);
            let hidden = |c: &char| *c != '\n' && escape::is_hidden(*c);
            assert_eq!(text.chars().find(hidden), None, "{name}.{}", format.name());
        }
    }
}

#[test]
fn a_narrow_terminal_gets_narrow_lines() {
    let options = ShowOptions {
        width: 60,
        ..options()
    };
    for (_, verdict) in all() {
        for line in shown_with(&verdict, Format::Text, &options).lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= 60, "{line}");
        }
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = ShowOptions {
        colour: Colour::Ansi,
        ..options()
    };
    for (verdict, first) in [
        (failing(), "\x1b[31mfailed: 2"),
        (passing(), "\x1b[32mpassed: 3"),
    ] {
        let mut text = shown_with(&verdict, Format::Text, &coloured);
        assert!(text.starts_with(first), "{text}");
        for sequence in ["0", "1", "2", "31", "32", "33", "36"] {
            text = text.replace(&format!("\x1b[{sequence}m"), "");
        }
        assert_eq!(text, shown(&verdict, Format::Text));
    }
}

#[test]
fn what_is_not_shown_is_counted() {
    let few = ShowOptions {
        top: 1,
        frames: 1,
        ..options()
    };
    let text = shown_with(&failing(), Format::Text, &few);
    for part in [
        "… and 1 site more",
        "… and 1 failure more",
        "… and 4 frames more",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let none = ShowOptions {
        top: 0,
        frames: 0,
        ..options()
    };
    for format in Format::ALL {
        shown_with(&failing(), format, &none);
    }
}

#[test]
fn a_comment_stays_below_the_limit_however_much_there_is_to_say() {
    let mut verdict = failing();
    let site = verdict.sites[0].clone();
    verdict.sites.extend(vec![site; 5_000]);
    let failure = verdict.rules[0].failures[0].clone();
    verdict.rules[0].failures = vec![failure; 300];
    verdict.rules[0].failures[0].sites = (0..4_000).collect();
    let rule = verdict.rules[0].clone();
    verdict.rules.extend(vec![rule; 300]);
    verdict.notes.extend(vec!["x".repeat(40_000); 3]);
    let options = ShowOptions {
        top: usize::MAX,
        ..options()
    };
    let text = shown_with(&verdict, Format::Markdown, &options);
    assert!(text.len() < 60_000, "{}", text.len());
    assert!(text.starts_with("### ❌ sntrace diff: failed: 302 of 303 rules\n"));
    assert!(text.contains("*Left out, as a comment has a limit: "));
    assert!(text.contains("| `std::vector<int>::reserve`"));
    assert_eq!(
        text.matches("<details>").count(),
        text.matches("</details>").count()
    );
}

#[test]
fn places_in_sites_that_are_not_there_are_passed_over() {
    let mut verdict = failing();
    verdict.sites.clear();
    for format in Format::ALL {
        shown(&verdict, format);
    }
    verdict = same();
    verdict.head.command.clear();
    verdict.totals.clear();
    for format in Format::ALL {
        shown(&verdict, format);
    }
}

#[test]
fn a_side_without_a_certificate_says_so() {
    let mut verdict = same();
    verdict.head.certificate = Certificate::default();
    for format in [Format::Text, Format::Markdown, Format::Junit] {
        let text = shown(&verdict, format);
        assert!(text.contains("its trace has no certificate"), "{text}");
        assert!(!text.contains("cut before its end"), "{text}");
    }
}

#[test]
fn what_two_sides_have_alike_is_told_in_a_word() {
    assert!(shown(&same(), Format::Text).contains("\nNo difference  23 sites are the same\n"));
    let headline = "### sntrace diff: no difference\n";
    assert!(shown(&same(), Format::Markdown).starts_with(headline));
    assert_eq!(
        shown(&same(), Format::Github),
        "sntrace diff: no difference\n"
    );
    let passed = "::notice title=sntrace diff::passed: 3 rules\nsntrace diff: passed: 3 rules\n";
    assert_eq!(shown(&passing(), Format::Github), passed);
}

#[test]
fn a_destination_that_takes_no_more_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in Format::ALL {
        let error = write(&failing(), format, &options(), &mut Full).unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::StorageFull,
            "{}",
            format.name()
        );
    }
}
