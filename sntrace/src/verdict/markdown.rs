//! The verdict as a comment of a pull request: what everybody should see first, the rest folded.
//!
//! GitHub refuses a comment of more than 65,536 characters, so a comment has a limit below that and says what it
//! left out. What is written for everybody comes first, and so is never what is left out.
//!
//! Names are those of the traced program: they must not become markup, mention people or end a table's cell
//! ([`code`], [`plain`]).

use std::io::{self, Write};

use super::places::{self, File};
use super::{Change, Failure, Judged, ShowOptions, SiteChange, Verdict, wording};
use crate::output::escape;
use crate::page::quantity::count;
use crate::page::shortened;
use crate::profile::Metric;

/// In bytes, which are no fewer than characters.
const LIMIT: usize = 60_000;
/// For what closes the comment: the end of a folded part and the sentence that says what is missing.
const RESERVE: usize = 500;
/// Sites under a failed rule; the others are folded.
const SITES: usize = 3;
/// Failures of a rule that are shown unfolded.
const FAILURES: usize = 5;
/// Columns of a name.
const NAME: usize = 160;
/// Columns of a sentence, which may have several names in it.
const SENTENCE: usize = 600;

pub(super) fn write(
    verdict: &Verdict,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut comment = Comment::default();
    let mark = match (verdict.rules.is_empty(), verdict.passed()) {
        (true, _) => "",
        (_, true) => "✅ ",
        (_, false) => "❌ ",
    };
    comment.block(
        "headline",
        &format!(
            "### {mark}{}: {}\n",
            wording::speaker(verdict),
            wording::result(verdict)
        ),
    );
    let failed: Vec<&Judged> = verdict.rules.iter().filter(|rule| rule.failed()).collect();
    if let Some(worst) = failed.first() {
        comment.block("sentence", &format!("\n{}.\n", plain(&worst.sentence)));
    }
    comment.block("table", &totals(verdict));
    for note in &verdict.notes {
        comment.block("note", &format!("\n> {}\n", plain(note)));
    }
    for rule in &failed {
        comment.block("failed rule", &failed_rule(verdict, rule));
    }
    let blamed = blamed_sites(verdict, &failed);
    let stacks: Vec<_> = blamed
        .iter()
        .take(options.top)
        .map(|site| fenced(&stack(site, options)))
        .collect();
    let title = format!("Stacks of {}", count(blamed.len() as u64, "site"));
    comment.folded(&title, "stack", blamed.len(), &stacks);
    let held: Vec<_> = verdict
        .rules
        .iter()
        .filter(|rule| !rule.failed())
        .map(|rule| format!("- {}: {}\n", code(&rule.rule), plain(&rule.sentence)))
        .collect();
    let title = format!("{} held", count(held.len() as u64, "rule"));
    comment.folded(&title, "rule", held.len(), &held);
    let others = match verdict.base {
        Some(_) => wording::other_sites(verdict),
        None => Vec::new(),
    };
    let changes: Vec<_> = others
        .iter()
        .take(options.top)
        .map(|site| changed_site(verdict, site))
        .collect();
    let other = if blamed.is_empty() { "" } else { "other " };
    let title = format!(
        "{} changed",
        count(others.len() as u64, &format!("{other}site"))
    );
    comment.folded(&title, "site", others.len(), &changes);
    let compared = compared(verdict);
    comment.folded("What was compared", "line", compared.len(), &compared);
    out.write_all(comment.finished().as_bytes())
}

/// A comment being written: it takes no more than it may hold.
#[derive(Default)]
struct Comment {
    text: String,
    /// What was left out, by kind.
    left_out: Vec<(usize, &'static str)>,
}

impl Comment {
    fn takes(&self, block: &str) -> bool {
        self.text.len() + block.len() + RESERVE <= LIMIT
    }

    /// A part that stands alone.
    fn block(&mut self, noun: &'static str, block: &str) {
        match self.takes(block) {
            true => self.text += block,
            false => self.leave_out(1, noun),
        }
    }

    /// A folded list of `total`, of which `items` are to be shown as far as there is room.
    fn folded(&mut self, title: &str, noun: &'static str, total: usize, items: &[String]) {
        let head = format!("\n<details><summary>{title}</summary>\n\n");
        let Some(first) = items.first() else {
            return;
        };
        if !self.takes(&format!("{head}{first}")) {
            return self.leave_out(total, noun);
        }
        self.text += &head;
        let mut shown = 0;
        while let Some(item) = items.get(shown)
            && self.takes(item)
        {
            self.text += item;
            shown += 1;
        }
        if let more @ 1.. = total.saturating_sub(shown) {
            self.text += &format!("\n… and {} more\n", count(more as u64, noun));
        }
        if let more @ 1.. = items.len() - shown {
            self.leave_out(more, noun);
        }
        self.text += "\n</details>\n";
    }

    fn leave_out(&mut self, number: usize, noun: &'static str) {
        match self.left_out.iter_mut().find(|(_, known)| *known == noun) {
            Some((known, _)) => *known += number,
            None => self.left_out.push((number, noun)),
        }
    }

    fn finished(mut self) -> String {
        let left_out = self.left_out.iter();
        let left_out: Vec<_> = left_out
            .map(|&(number, noun)| count(number as u64, noun))
            .collect();
        if !left_out.is_empty() {
            self.text += &format!(
                "\n*Left out, as a comment has a limit: {}.*\n",
                left_out.join(", ")
            );
        }
        self.text
    }
}

fn totals(verdict: &Verdict) -> String {
    let mut table = match verdict.base {
        _ if verdict.totals.is_empty() => return String::new(),
        Some(_) => "\n| total | base | head | delta | % |\n|---|--:|--:|--:|--:|\n".to_owned(),
        None => "\n| total | head |\n|---|--:|\n".to_owned(),
    };
    for change in &verdict.totals {
        table += &row(change.metric.name(), change);
    }
    table
}

/// A row of a table of figures. `name` is escaped.
fn row(name: &str, change: &Change) -> String {
    let head = wording::spread(change.metric, change.head);
    let Some(base) = change.base else {
        return format!("| {name} | {head} |\n");
    };
    let base = wording::spread(change.metric, base);
    let mark = if change.differs() { "**" } else { "" };
    let (delta, percent) = (wording::delta(change), wording::percent(change));
    let percent = percent.replace('<', "&lt;");
    format!("| {name} | {base} | {head} | {mark}{delta}{mark} | {percent} |\n")
}

fn failed_rule(verdict: &Verdict, rule: &Judged) -> String {
    let mut text = format!("\n**{}**: {}\n", code(&rule.rule), plain(&rule.sentence));
    for failure in rule.failures.iter().take(FAILURES) {
        if let Some(sentence) = wording::own_sentence(rule, failure) {
            text += &format!("\n- {}\n", plain(sentence));
        }
        text += &sites(verdict, failure);
    }
    if let more @ 1.. = rule.failures.len().saturating_sub(FAILURES) {
        text += &format!("\n… and {} more\n", count(more as u64, "failure"));
    }
    text
}

/// The worst sites of a failure, a row each.
fn sites(verdict: &Verdict, failure: &Failure) -> String {
    let sites = verdict.blamed(failure);
    let all = sites.len();
    let mut text = String::new();
    for (site, metric) in sites.take(SITES) {
        if text.is_empty() {
            text = match verdict.base {
                Some(_) => format!(
                    "\n| site, by {} | base | head | delta | % |\n|---|--:|--:|--:|--:|\n",
                    metric.name()
                ),
                None => format!("\n| site, by {} | head |\n|---|--:|\n", metric.name()),
            };
        }
        let mut name = code(site.caller());
        for remark in states(verdict, site) {
            name += &format!("<br>{}", plain(&remark));
        }
        text += &row(&name, &site.change(metric));
    }
    if let more @ 1.. = all.saturating_sub(SITES) {
        text += &format!("\n… and {} more\n", count(more as u64, "site"));
    }
    text
}

/// What became of a site, and what else is to say of it.
fn states(verdict: &Verdict, site: &SiteChange) -> Vec<String> {
    let state = wording::state(verdict, site);
    let state = (!state.is_empty()).then(|| state.to_owned());
    state.into_iter().chain(wording::remarks(site)).collect()
}

/// Each once, the worst first.
fn blamed_sites<'a>(verdict: &'a Verdict, failed: &[&Judged]) -> Vec<&'a SiteChange> {
    let mut unseen: Vec<Option<&SiteChange>> = verdict.sites.iter().map(Some).collect();
    let failures = failed.iter().flat_map(|rule| &rule.failures);
    failures
        .flat_map(|failure| &failure.sites)
        .filter_map(|&at| unseen.get_mut(at)?.take())
        .collect()
}

/// A stack in lines, escaped as text is.
fn stack(site: &SiteChange, options: &ShowOptions) -> String {
    let mut text = String::new();
    let shown = options.frames.max(1);
    for frame in site.stack.iter().take(shown) {
        text += &shortened(&escape::shown(&frame.function), NAME);
        if let Some(place) = places::of_frame(frame, &options.source_root) {
            let path = escape::shown(place.file.path());
            text += &match place.file {
                File::Below(_) => format!("  {path}:{}", place.line),
                File::Outside(_) => format!("  {}:{}", shortened(&path, NAME), place.line),
            };
        }
        text.push('\n');
    }
    if let more @ 1.. = site.stack.len().saturating_sub(shown) {
        text += &format!("… and {} more\n", count(more as u64, "frame"));
    }
    text
}

fn changed_site(verdict: &Verdict, site: &SiteChange) -> String {
    let mut item = format!("- {}", code(site.caller()));
    for state in states(verdict, site) {
        item += &format!("; {}", plain(&state));
    }
    for change in Metric::ALL.map(|metric| site.change(metric)) {
        if change.differs() {
            let percent = wording::percent(&change).replace('<', "&lt;");
            item += &format!(
                "\n  - {}: {} ({}{}{percent})",
                change.metric.name(),
                wording::both(&change),
                wording::delta(&change),
                if percent.is_empty() { "" } else { ", " },
            );
        }
    }
    item + "\n"
}

fn compared(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, side) in wording::sides(verdict) {
        let (what, how) = wording::side(side);
        lines.push(format!("- {name}: {}, {}\n", code(&what), plain(&how)));
        let blemishes = wording::blemishes(side).into_iter();
        lines.extend(blemishes.map(|blemish| format!("  - {}\n", plain(&blemish))));
    }
    lines
}

/// A name as it is. Most names go into a code span. In a table a span ends with its cell: what has a `|`, or
/// could escape one, is written as HTML.
fn code(name: &str) -> String {
    let name = shortened(&escape::shown(name), NAME);
    if name.is_empty() || name.contains(['`', '|', '\\']) || name.trim() != name {
        let mut html = String::from("<code>");
        for c in name.chars() {
            match c.is_ascii_punctuation() {
                true => html += &format!("&#{};", u32::from(c)),
                false => html.push(c),
            }
        }
        return html + "</code>";
    }
    format!("`{name}`")
}

/// A sentence without markup in it, that mentions nobody.
fn plain(text: &str) -> String {
    let text = shortened(&escape::shown(text), SENTENCE);
    let mut plain = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        match c {
            // A name or a number right after these would be a link: what stands between is not seen.
            '@' | '#' => plain += &format!("&#{};&#8203;", u32::from(c)),
            // Within a word it emphasizes nothing.
            '_' if before.is_alphanumeric() && after.is_alphanumeric() => plain.push(c),
            // Neither an emoji nor an address.
            ':' if after == ' ' => plain.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '$' | '!' | ':' => {
                plain += &format!("&#{};", u32::from(c));
            }
            c => plain.push(c),
        }
        before = c;
    }
    plain
}

/// Lines as they are.
fn fenced(lines: &str) -> String {
    let longest = lines.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{lines}{fence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_no_markup() {
        assert_eq!(code("std::vector<int>::push"), "`std::vector<int>::push`");
        assert_eq!(code("a|b"), "<code>a&#124;b</code>");
        assert_eq!(code("`x`"), "<code>&#96;x&#96;</code>");
        assert_eq!(code(r"a\"), "<code>a&#92;</code>");
        assert_eq!(code("two\nlines"), "<code>two&#92;nlines</code>");
        assert_eq!(
            plain("<b> *x* _y_ a_b @me #1: http://"),
            "&#60;b&#62; &#42;x&#42; &#95;y&#95; a_b &#64;&#8203;me &#35;&#8203;1: http&#58;//"
        );
        assert_eq!(fenced("a```b\n"), "````\na```b\n````\n");
    }

    #[test]
    fn a_comment_counts_what_it_has_no_room_for() {
        let mut comment = Comment::default();
        comment.block("headline", "begin\n");
        comment.folded("Long", "stack", 9, &vec!["x".repeat(20_000); 5]);
        comment.folded("More", "site", 2, &vec!["y".repeat(50_000); 2]);
        comment.block("note", &"z".repeat(LIMIT));
        let text = comment.finished();
        assert!(text.len() <= LIMIT);
        assert!(text.contains("\n… and 7 stacks more\n\n</details>\n"));
        assert!(text.ends_with("a comment has a limit: 3 stacks, 2 sites, 1 note.*\n"));
    }
}
