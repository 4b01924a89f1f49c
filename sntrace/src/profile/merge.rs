//! Several runs of the same program as one profile.
//!
//! Each run has tables of its own. What is the same place in code, by its file, its address and its
//! functions, becomes one place, and stacks of the same places one stack. Two builds have few places in common, so
//! profiles of different builds are not to be added: they would lie side by side.

use std::collections::HashMap;

use super::{Figures, Profile, StackFigures};
use crate::trace::{Certificate, FileNumber, Site, SiteId, StackId, Tables};

impl Profile {
    /// Adds the runs of another profile of the same program.
    pub fn add(&mut self, other: &Profile) {
        let before = self.runs();
        let stacks = adopt(&mut self.tables, &other.tables);
        let places = self.stacks.iter().enumerate();
        let mut places: HashMap<StackId, usize> =
            places.map(|(at, figures)| (figures.stack, at)).collect();
        self.totals.extend_from_slice(&other.totals);
        let runs = self.runs();
        for figures in &mut self.stacks {
            figures.runs.resize(runs, Figures::default());
        }
        for added in &other.stacks {
            let stack = stacks
                .get(added.stack.0 as usize)
                .copied()
                .unwrap_or_default();
            let at = *places.entry(stack).or_insert_with(|| {
                self.stacks.push(StackFigures {
                    stack,
                    runs: vec![Figures::default(); runs],
                });
                self.stacks.len() - 1
            });
            for (to, from) in self.stacks[at].runs[before..].iter_mut().zip(&added.runs) {
                *to += *from;
            }
        }
        add_certificate(&mut self.certificate, &other.certificate);
    }
}

/// Takes over another trace's places and stacks. Returns the number that each stack has now.
fn adopt(tables: &mut Tables, other: &Tables) -> Vec<StackId> {
    let mut files: HashMap<_, _> = tables.files.iter().cloned().zip(0..).collect();
    let numbered = other.files.iter().map(|file| {
        *files.entry(file.clone()).or_insert_with(|| {
            tables.files.push(file.clone());
            tables.files.len() as u32 - 1
        })
    });
    let file_numbers: Vec<u32> = numbered.collect();
    if tables.sites.is_empty() {
        tables.sites.push(Site::default());
    }
    let known = tables.sites.iter().enumerate().skip(1);
    let mut places: HashMap<Site, u32> =
        known.map(|(at, site)| (site.clone(), at as u32)).collect();
    let mut sites = vec![SiteId::TRUNCATED];
    for site in other.sites.iter().skip(1) {
        let file = site.file.and_then(|file| {
            let number = file_numbers.get(file.0 as usize)?;
            Some(FileNumber(*number))
        });
        let site = Site {
            file,
            ..site.clone()
        };
        let number = *places.entry(site).or_insert_with_key(|site| {
            tables.sites.push(site.clone());
            tables.sites.len() as u32 - 1
        });
        sites.push(SiteId(number));
    }
    let mut stacks = vec![StackId::EMPTY];
    for node in other.stacks.nodes() {
        let parent = stacks.get(node.parent.0 as usize).copied();
        let site = sites.get(node.site.0 as usize).copied();
        // A number that no table has is a place that nobody knows, in both.
        let site = site.unwrap_or(SiteId(u32::MAX));
        stacks.push(tables.stacks.intern(parent.unwrap_or_default(), site));
    }
    stacks
}

fn add_certificate(to: &mut Certificate, from: &Certificate) {
    to.events += from.events;
    to.dropped_events += from.dropped_events;
    to.truncated_stacks += from.truncated_stacks;
    // Places are those of one program: they don't add up.
    to.unnamed_sites = to.unnamed_sites.max(from.unnamed_sites);
    to.broken_debug_info = to.broken_debug_info.max(from.broken_debug_info);
    to.unordered_events += from.unordered_events;
    to.damaged_lanes += from.damaged_lanes;
    for program in &from.not_followed {
        let same = to
            .not_followed
            .iter_mut()
            .find(|known| (&known.program, &known.reason) == (&program.program, &program.reason));
        match same {
            Some(known) => known.times += program.times,
            None => to.not_followed.push(program.clone()),
        }
    }
    for module in &from.replaced_modules {
        if !to.replaced_modules.contains(module) {
            to.replaced_modules.push(module.clone());
        }
    }
    to.cost.wall_ns += from.cost.wall_ns;
    to.cost.target_cpu_ns += from.cost.target_cpu_ns;
    to.cost.launcher_cpu_ns += from.cost.launcher_cpu_ns;
    to.cost.hook_cpu_ns += from.cost.hook_cpu_ns;
    to.cost.waited_ns += from.cost.waited_ns;
    to.complete &= from.complete;
}
