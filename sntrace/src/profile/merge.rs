//! Several runs of the same program as one profile.
//!
//! Each run has tables of its own. What is the same place in code, by its file, its address and its
//! functions, becomes one place, and stacks of the same places one stack. Two builds have few places in common, so
//! profiles of different builds are not to be added: they would lie side by side.

use std::collections::HashMap;

use super::{Figures, Profile, StackFigures, add_runs};
use crate::trace::{FileNumber, Site, SiteId, StackId, Tables};

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
            add_runs(&mut self.stacks[at].runs[before..], &added.runs);
        }
        self.certificate.add(&other.certificate);
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
