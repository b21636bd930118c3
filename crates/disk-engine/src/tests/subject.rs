//! The engines as the properties see them: all have to pass the same.

use std::cell::Cell;

use base::{Mutation, Page, Position};
use world::Disk;

use super::any::few_tokens;
use crate::{
    Engine, MemoryEngine, RawFound, ReadSpec,
    tree::{Patience, TreeSettings},
};

/// An engine.
pub(super) trait Subject {
    fn apply(&self, mutation: &Mutation);
    fn read(&self, spec: &ReadSpec) -> Page;
    fn read_raw(&self, spec: &ReadSpec) -> RawFound;
}

pub(super) fn memory() -> MemoryEngine {
    MemoryEngine::with(2, few_tokens)
}

impl Subject for MemoryEngine {
    fn apply(&self, mutation: &Mutation) {
        self.apply(mutation);
    }

    fn read(&self, spec: &ReadSpec) -> Page {
        self.read(spec)
    }

    fn read_raw(&self, spec: &ReadSpec) -> RawFound {
        self.read_raw(spec)
    }
}

struct OnTrees {
    engine: Engine,
    applied: Cell<u64>,
}

impl OnTrees {
    fn new(settings: TreeSettings) -> OnTrees {
        let engine = Engine::with(Disk::in_memory(), settings, few_tokens).unwrap();
        OnTrees { engine, applied: Cell::new(0) }
    }
}

impl Subject for OnTrees {
    /// Every write is given a little upkeep.
    fn apply(&self, mutation: &Mutation) {
        self.applied.set(self.applied.get() + 1);
        self.engine.apply(Position(self.applied.get()), std::slice::from_ref(mutation)).unwrap();
        self.engine.forest().work(500, &|_| None).unwrap();
    }

    fn read(&self, spec: &ReadSpec) -> Page {
        self.engine.read(spec, Patience::Wait).unwrap()
    }

    fn read_raw(&self, spec: &ReadSpec) -> RawFound {
        self.engine.read_raw(spec, Patience::Wait).unwrap()
    }
}

/// Limits so tiny that a few writes make files and levels.
pub(super) fn tiny() -> TreeSettings {
    TreeSettings {
        block_bytes: 100,
        memtable_bytes: 1000,
        file_bytes: 400,
        tier_runs: 2,
        level_bytes: 1200,
        level_factor: 2,
        ..TreeSettings::default()
    }
}

/// All engines, each with these mutations: in memory, on trees without files, on trees with many.
pub(super) fn filled(mutations: &[Mutation]) -> Vec<Box<dyn Subject>> {
    let engines: [Box<dyn Subject>; 3] =
        [Box::new(memory()), Box::new(OnTrees::new(TreeSettings::default())), Box::new(OnTrees::new(tiny()))];
    engines.iter().for_each(|engine| mutations.iter().for_each(|mutation| engine.apply(mutation)));
    engines.into()
}
