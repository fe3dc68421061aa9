//! The program under construction: what alone writes kernels, drivers, steps, packed constants and
//! scratch memory.

use std::collections::HashMap;

use super::nest::{KernelId, NestBuilder, Operand};
use super::pack::Pack;
use super::{Driver, DriverId, Packed, Part, Place, Region, Step};
use crate::graph::NodeId;
use crate::kernels::Descriptor;
use crate::layout::arena;
use crate::target::Target;

/// The operands of a step under construction.
pub(super) type Operands = [Option<Place>; Operand::ALL.len()];

/// Writes a program.
pub(super) struct Emitter {
    /// What it is for.
    pub target: Target,
    /// Images that run together.
    pub batch: u32,
    /// See [`Schedule::prefetches_results`](crate::schedule::Schedule::prefetches_results).
    pub prefetches_results: bool,
    /// Kernels, by [`KernelId`].
    pub kernels: Vec<Descriptor>,
    /// Drivers, by [`DriverId`].
    pub drivers: Vec<Driver>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Packed constants.
    pub constants: Vec<Packed>,
    /// Size of the packed constants in bytes.
    pub constant_bytes: u64,
    /// Size of each thread's scratch memory in bytes.
    pub scratch_bytes: u64,
    /// Size of an arena in bytes.
    pub arena_bytes: u64,
    /// Bytes of the arena that values take; behind them lies what one step leaves to the next.
    value_bytes: u64,
    kernel_ids: HashMap<Descriptor, KernelId>,
    driver_ids: HashMap<Driver, DriverId>,
}

impl Emitter {
    /// An empty program, whose values take `value_bytes` of an arena.
    pub fn new(target: Target, batch: u32, prefetches_results: bool, value_bytes: u64) -> Self {
        Self {
            target,
            batch,
            prefetches_results,
            kernels: Vec::new(),
            drivers: Vec::new(),
            steps: Vec::new(),
            constants: Vec::new(),
            constant_bytes: 0,
            scratch_bytes: 0,
            arena_bytes: value_bytes,
            value_bytes,
            kernel_ids: HashMap::new(),
            driver_ids: HashMap::new(),
        }
    }

    /// The number of a kernel, a new one if it is new.
    pub fn kernel(&mut self, descriptor: Descriptor) -> KernelId {
        let kernels = &mut self.kernels;
        *self.kernel_ids.entry(descriptor).or_insert_with_key(|descriptor| {
            kernels.push(descriptor.clone());
            KernelId::new(kernels.len() - 1)
        })
    }

    /// Appends a step that computes a part of a node, of the layer named `layer`.
    pub fn step(&mut self, node: NodeId, layer: &str, part: Part, nest: NestBuilder, operands: Operands) {
        let drivers = &mut self.drivers;
        let driver = Driver { nest: nest.finish() };
        let driver = *self.driver_ids.entry(driver).or_insert_with_key(|driver| {
            drivers.push(driver.clone());
            DriverId::new(drivers.len() - 1)
        });
        self.steps.push(Step { node, before: Vec::new(), part, layer: layer.to_owned(), driver, operands });
    }

    /// Reserves packed constants and returns the places of weights and biases.
    pub fn pack(&mut self, pack: Pack) -> [Place; 2] {
        let (weights, bias) = pack.sizes();
        let [weights, bias] = [weights, bias].map(|values| {
            let offset = self.constant_bytes;
            self.constant_bytes += (values * 4).next_multiple_of(arena::ALIGNMENT);
            Place { region: Region::Constants, offset, bytes: values * 4 }
        });
        self.constants.push(Packed { pack, weights: weights.offset, bias: bias.offset });
        [weights, bias]
    }

    /// Reserves scratch memory of every thread.
    pub fn scratch(&mut self, bytes: u64) -> Place {
        let bytes = bytes.next_multiple_of(arena::ALIGNMENT);
        self.scratch_bytes = self.scratch_bytes.max(bytes);
        Place { region: Region::Scratch, offset: 0, bytes }
    }

    /// Memory for what one step leaves to the next: behind all values.
    pub fn between_steps(&mut self, bytes: u64) -> Place {
        let bytes = bytes.next_multiple_of(arena::ALIGNMENT);
        let offset = self.value_bytes;
        self.arena_bytes = self.arena_bytes.max(offset.saturating_add(bytes));
        Place { region: Region::Arena, offset, bytes }
    }

    /// First byte behind all values and what the operands take of the memory behind them.
    pub fn behind(&self, operands: &Operands) -> u64 {
        let ends = operands.iter().flatten().filter(|place| place.region == Region::Arena);
        ends.map(|place| place.offset + place.bytes).max().unwrap_or(0).saturating_sub(self.value_bytes)
    }
}
