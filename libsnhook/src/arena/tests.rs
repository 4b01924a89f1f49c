//! Arenas against a model, and many threads against one region.

use std::collections::HashMap;

use super::allocate::{ALIGNMENT_MAX, Block, Walk};
use super::block::footprint;
use super::handle::Handle;
use super::region::{Owner, Region, SPAN};
use super::slot::Arena;
use super::tree::{self, Wishes};

/// Small: its spans are taken again after some rounds.
fn region(bytes: usize) -> &'static Region {
    Region::reserve(bytes, bytes).expect("addresses for a test")
}

fn create(region: &'static Region, wishes: Wishes) -> Arena<'static> {
    tree::create(region, &wishes).expect("a place for an arena")
}

/// xorshift64*: the same steps in each run of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

fn bytes_of(block: usize, size: usize) -> &'static mut [u8] {
    // SAFETY: a live block of this size, and tests keep no two slices of one.
    unsafe { std::slice::from_raw_parts_mut(block as *mut u8, size) }
}

/// What an arena should be.
#[derive(Default)]
struct Model {
    parent: Option<Handle>,
    limit: usize,
    /// Address to size and what it is filled with.
    blocks: HashMap<usize, (usize, u8)>,
    blocks_total: usize,
    bytes_total: usize,
    bytes_peak: usize,
    limit_hits: usize,
}

impl Model {
    fn bytes(&self) -> usize {
        self.blocks.values().map(|block| block.0).sum()
    }

    fn add(&mut self, address: usize, size: usize, fill: u8) {
        bytes_of(address, size).fill(fill);
        assert_eq!(self.blocks.insert(address, (size, fill)), None);
        self.bytes_peak = self.bytes_peak.max(self.bytes());
    }
}

struct World {
    region: &'static Region,
    models: HashMap<Handle, Model>,
    dead: Vec<Handle>,
}

impl World {
    fn pick(&self, dice: &mut Dice) -> Option<Handle> {
        let mut handles: Vec<Handle> = self.models.keys().copied().collect();
        handles.sort_by_key(|handle| handle.number());
        (!handles.is_empty()).then(|| handles[dice.roll(handles.len())])
    }

    /// Removes the descendants of an arena, and says which blocks they had.
    fn forget_children(&mut self, of: Handle) -> Vec<usize> {
        let mut gone = Vec::new();
        let children: Vec<Handle> = self
            .models
            .iter()
            .filter_map(|(&handle, model)| (model.parent == Some(of)).then_some(handle))
            .collect();
        for child in children {
            gone.extend(self.forget_children(child));
            gone.extend(self.models.remove(&child).unwrap().blocks.into_keys());
            self.dead.push(child);
        }
        gone
    }

    fn check(&self) {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for (&handle, model) in &self.models {
            let arena = self.region.arena(handle).expect("it lives");
            for (&address, &(size, fill)) in &model.blocks {
                assert!(bytes_of(address, size).iter().all(|&byte| byte == fill));
                for at in [0, size / 2, size.saturating_sub(1)] {
                    assert_eq!(self.region.owner(address + at), Owner::Live(handle));
                }
                let block = Block::find(self.region, address).expect("it is found");
                assert_eq!((block.arena.handle, block.size()), (handle, size));
                assert!(block.usable_size() >= size);
                if size > 16 {
                    assert!(Block::find(self.region, address + 16).is_none());
                }
                ranges.push((address, address + block.usable_size()));
            }
            let mut shown = HashMap::new();
            let walk = arena.walk(|block, size| shown.insert(block, size).is_none());
            assert_eq!(walk, Walk::Complete);
            let sizes: HashMap<usize, usize> =
                model.blocks.iter().map(|(&at, &(n, _))| (at, n)).collect();
            assert_eq!(shown, sizes);
            let slot = arena.slot;
            assert_eq!(slot.blocks.get(), model.blocks.len());
            assert_eq!(slot.bytes.get(), model.bytes());
            assert_eq!(slot.blocks_total.get(), model.blocks_total);
            assert_eq!(slot.bytes_total.get(), model.bytes_total);
            assert_eq!(slot.bytes_peak.get(), model.bytes_peak);
            assert_eq!(slot.limit_hits.get(), model.limit_hits);
            assert!(model.limit == 0 || slot.bytes_used.get() <= model.limit);
            let least: usize = model.blocks.values().map(|block| footprint(block.0)).sum();
            assert!(slot.bytes_used.get() >= least);
            let children = |(_, other): &(_, &Model)| other.parent == Some(handle);
            assert_eq!(
                slot.children.get(),
                self.models.iter().filter(children).count()
            );
        }
        ranges.sort_unstable();
        assert!(
            ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "blocks overlap"
        );
        for &handle in &self.dead {
            assert!(self.region.arena(handle).is_none());
        }
    }

    /// What was given back is dead, or another arena's by now; a dead arena's in no case.
    fn check_gone(&self, blocks: &[usize], owners: &[Handle]) {
        for &block in blocks {
            match self.region.owner(block) {
                Owner::Dead(_) => {}
                Owner::Live(handle) => assert!(!owners.contains(&handle)),
                other => panic!("{other:?} of a block that was"),
            }
            assert!(Block::find(self.region, block).is_none());
        }
    }
}

fn size(dice: &mut Dice) -> usize {
    match dice.roll(20) {
        0 => dice.roll(300_000),
        1..4 => dice.roll(20_000),
        _ => dice.roll(200),
    }
}

fn step(world: &mut World, dice: &mut Dice) {
    let kind = dice.roll(1000);
    let picked = world.pick(dice);
    let Some(handle) = picked.filter(|_| kind >= 20) else {
        if world.models.len() < 12 {
            let parent = picked.filter(|_| dice.roll(2) == 0);
            let limit = [0, 100_000, 2_000_000][dice.roll(3)];
            let chunk_bytes = [0, 1, 200_000][dice.roll(3)];
            let wishes = Wishes {
                parent,
                chunk_bytes,
                limit,
            };
            let model = Model {
                parent,
                limit,
                ..Model::default()
            };
            let arena = create(world.region, wishes);
            assert!(world.models.insert(arena.handle, model).is_none());
        }
        return;
    };
    let arena = world.region.arena(handle).unwrap();
    let fill = dice.roll(256) as u8;
    match kind {
        20..28 => {
            let mut gone = world.forget_children(handle);
            gone.extend(world.models.remove(&handle).unwrap().blocks.into_keys());
            world.dead.push(handle);
            arena.destroy();
            world.check_gone(&gone, &world.dead);
        }
        28..40 => {
            let gone = world.forget_children(handle);
            let model = world.models.get_mut(&handle).unwrap();
            let stale: Vec<usize> = model.blocks.drain().map(|block| block.0).collect();
            arena.reset();
            for block in stale {
                assert!(Block::find(world.region, block).is_none());
            }
            world.check_gone(&gone, &world.dead);
        }
        40..400 => {
            let model = world.models.get_mut(&handle).unwrap();
            let mut blocks: Vec<usize> = model.blocks.keys().copied().collect();
            blocks.sort_unstable();
            if blocks.is_empty() {
                return;
            }
            let old = blocks[dice.roll(blocks.len())];
            let (old_size, old_fill) = model.blocks[&old];
            let new_size = size(dice);
            let hits = arena.slot.limit_hits.get();
            match Block::find(world.region, old).unwrap().resize(new_size) {
                Some(new) => {
                    let kept = old_size.min(new_size);
                    assert!(bytes_of(new, kept).iter().all(|&byte| byte == old_fill));
                    model.blocks.remove(&old);
                    model.blocks_total += usize::from(new != old);
                    model.bytes_total += match new == old {
                        true => new_size.saturating_sub(old_size),
                        false => new_size,
                    };
                    if new != old {
                        assert!(Block::find(world.region, old).is_none());
                    }
                    model.add(new, new_size, fill);
                }
                None => {
                    assert!(model.limit > 0 && new_size > old_size);
                    assert_eq!(arena.slot.limit_hits.get(), hits + 1);
                    model.limit_hits += 1;
                }
            }
        }
        _ => {
            let model = world.models.get_mut(&handle).unwrap();
            let size = size(dice);
            let zeroed = dice.roll(3) == 0;
            let alignment = match dice.roll(10) {
                0 => 1 << dice.roll(17),
                _ => 16,
            };
            let block = match zeroed {
                true => arena.allocate_zeroed(size),
                false => arena.allocate(size, alignment),
            };
            match block {
                Some(block) => {
                    assert!(zeroed || block.is_multiple_of(alignment));
                    assert!(block.is_multiple_of(16));
                    assert!(!zeroed || bytes_of(block, size).iter().all(|&byte| byte == 0));
                    model.blocks_total += 1;
                    model.bytes_total += size;
                    model.add(block, size, fill);
                }
                None => {
                    // The alignment's gap counts too.
                    let most = arena.slot.bytes_used.get() + footprint(size) + alignment;
                    assert!(model.limit > 0 && most > model.limit);
                    model.limit_hits += 1;
                }
            }
        }
    }
}

#[test]
fn random_operations_agree_with_a_model() {
    for seed in 1..=6 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut world = World {
            region: region(1 << 32),
            models: HashMap::new(),
            dead: Vec::new(),
        };
        for at in 0..6_000 {
            step(&mut world, &mut dice);
            if at % 100 == 0 {
                world.check();
            }
        }
        world.check();
        let local = 0_u64;
        assert_eq!(
            world.region.owner((&raw const local) as usize),
            Owner::Foreign
        );
        let heap = Box::new(0_u64);
        assert_eq!(
            world.region.owner((&raw const *heap) as usize),
            Owner::Foreign
        );
    }
}

#[test]
fn every_byte_of_a_block_is_its_arenas() {
    let region = region(64 << 20);
    let arena = create(region, Wishes::default());
    for size in [1, 100, 3 * SPAN + 5] {
        let block = arena.allocate(size, 16).unwrap();
        for at in block..block + size {
            assert_eq!(region.owner(at), Owner::Live(arena.handle));
        }
    }
    let block = arena.allocate(1, ALIGNMENT_MAX).unwrap();
    arena.destroy();
    assert_eq!(region.owner(block), Owner::Dead(Some(arena.handle)));
    assert_eq!(region.owner(0), Owner::Foreign);
    assert_eq!(region.owner(usize::MAX), Owner::Foreign);
}

#[test]
fn a_span_is_reused_late() {
    let region = region(64 << 20);
    // 1024 spans. One after the other, all are used before the first comes again.
    let mut seen = Vec::new();
    for _ in 0..1024 {
        let arena = create(region, Wishes::default());
        seen.push(arena.allocate(10, 16).unwrap());
        arena.destroy();
    }
    let first = seen[0];
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 1024);
    let arena = create(region, Wishes::default());
    assert_eq!(arena.allocate(10, 16), Some(first));
}

#[test]
fn a_region_that_is_full_refuses_and_goes_on() {
    let region = region(16 << 20);
    let arena = create(region, Wishes::default());
    let mut blocks = Vec::new();
    while let Some(block) = arena.allocate(SPAN * 17, 16) {
        bytes_of(block, SPAN * 17).fill(7);
        blocks.push(block);
        assert!(blocks.len() < 1000);
    }
    // 256 spans, 18 a block: 4 remain, less than the arena would take at once, but enough.
    assert_eq!(blocks.len(), 14);
    assert!(arena.allocate(SPAN * 3, 16).is_some());
    assert_eq!(arena.allocate(super::block::SIZE_MAX, 16), None);
    assert_eq!(arena.allocate(usize::MAX, 16), None);
    arena.reset();
    assert_eq!(arena.slot.spans.get(), 4);
    assert!(arena.allocate(SPAN * 200, 16).is_some());
}

#[test]
fn places_run_out_and_come_back() {
    let region = region(16 << 20);
    // 256 spans: 16 places. As deep as they go.
    let mut parent = None;
    let mut arenas = Vec::new();
    while let Some(arena) = tree::create(
        region,
        &Wishes {
            parent,
            ..Wishes::default()
        },
    ) {
        parent = Some(arena.handle);
        arenas.push(arena);
    }
    assert_eq!(arenas.len(), 16);
    arenas[3].destroy();
    let alive: Vec<bool> = arenas.iter().map(Arena::is_live).collect();
    assert_eq!(alive, (0..16).map(|at| at < 3).collect::<Vec<_>>());
    assert_eq!(arenas[2].slot.children.get(), 0);
    let wishes = Wishes {
        parent,
        ..Wishes::default()
    };
    assert!(tree::create(region, &wishes).is_none(), "a dead parent");
    for _ in 3..16 {
        create(region, Wishes::default());
    }
    assert!(tree::create(region, &Wishes::default()).is_none());
}

#[test]
fn an_overwritten_header_ends_a_walk() {
    let arena = create(region(64 << 20), Wishes::default());
    let block = arena.allocate(24, 16).unwrap();
    arena.allocate(24, 16).unwrap();
    bytes_of(block, 32).fill(0xff);
    assert_eq!(arena.walk(|_, _| true), Walk::Damaged);
}

#[test]
fn an_arena_may_end_while_it_is_walked() {
    let arena = create(region(64 << 20), Wishes::default());
    for _ in 0..10 {
        arena.allocate(24, 16).unwrap();
    }
    let mut shown = 0;
    let walk = arena.walk(|_, _| {
        shown += 1;
        if shown == 3 {
            arena.reset();
        }
        true
    });
    assert_eq!((walk, shown), (Walk::Stopped, 3));
    arena.allocate(24, 16).unwrap();
    let walk = arena.walk(|_, _| {
        arena.destroy();
        true
    });
    assert_eq!(walk, Walk::Stopped);
}

#[test]
fn threads_create_and_destroy_at_once() {
    let region = region(256 << 20);
    std::thread::scope(|scope| {
        for thread in 1..=8_u64 {
            scope.spawn(move || {
                let mut dice = Dice(thread * 77_777);
                for _ in 0..400 {
                    let parent = create(region, Wishes::default());
                    let child = create(
                        region,
                        Wishes {
                            parent: Some(parent.handle),
                            ..Wishes::default()
                        },
                    );
                    let mut blocks = Vec::new();
                    for at in 0..dice.roll(12) {
                        let arena = [parent, child][at % 2];
                        let size = dice.roll(70_000);
                        let block = arena.allocate_zeroed(size).unwrap();
                        assert!(bytes_of(block, size).iter().all(|&byte| byte == 0));
                        bytes_of(block, size).fill(thread as u8);
                        blocks.push((arena.handle, block, size));
                    }
                    for &(handle, block, size) in &blocks {
                        assert!(
                            bytes_of(block, size)
                                .iter()
                                .all(|&byte| byte == thread as u8)
                        );
                        assert_eq!(region.owner(block), Owner::Live(handle));
                    }
                    parent.destroy();
                    assert!(!child.is_live());
                    for &(handle, block, _) in &blocks {
                        assert_ne!(region.owner(block), Owner::Live(handle));
                    }
                }
            });
        }
    });
    // All spans have come back.
    let arena = create(region, Wishes::default());
    assert!(arena.allocate((256 << 20) - SPAN, 16).is_some());
}
