//! Which bytes a kernel touches, from each of its pointer parameters on: found without running it.
//!
//! Pointers move by constants, so a loop moves each of them by the same distance in every
//! iteration but perhaps the first. An access is farthest out in the first, the second or the last
//! iteration, and only these are followed.

use std::ops::Range;

use super::{Address, Inst, Kernel, TILE_BYTES, TILE_ROWS, Times, pointer_count};

/// Bytes relative to where a parameter points; nothing if there are none.
pub type Extent = Option<Range<i64>>;

/// What a kernel touches by way of one parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The smallest range of bytes that has all that is read.
    pub read: Extent,
    /// The smallest range of bytes that has all that is written.
    pub written: Extent,
}

/// What a kernel touches by way of each of its parameters, if its count parameter is `rows`. None
/// if a pointer comes from different parameters in different iterations of a loop.
pub fn touched(kernel: &Kernel, rows: u32) -> Option<Vec<Touched>> {
    let parameters = kernel.pointers.len();
    let mut pointers: Vec<Place> = vec![None; pointer_count(kernel).max(parameters)];
    for (parameter, place) in pointers.iter_mut().enumerate().take(parameters) {
        *place = Some((parameter, 0));
    }
    let mut walk = Walk { lanes: kernel.lanes, rows, pointers, found: vec![Touched::default(); parameters] };
    walk.run(&kernel.body)?;
    Some(walk.found)
}

/// A parameter and the bytes from it; nothing before the first write.
type Place = Option<(usize, i64)>;

struct Walk {
    lanes: u32,
    rows: u32,
    pointers: Vec<Place>,
    found: Vec<Touched>,
}

impl Walk {
    fn run(&mut self, body: &[Inst]) -> Option<()> {
        body.iter().try_for_each(|inst| self.step(inst))
    }

    fn step(&mut self, inst: &Inst) -> Option<()> {
        let vector = i64::from(self.lanes) * 4;
        match *inst {
            Inst::Loop { times, ref body } => return self.repeat(times, body),
            Inst::Point { dst, base, offset } => {
                let place = self.pointers[base.index()];
                self.pointers[dst.index()] = place.map(|(of, at)| (of, at + i64::from(offset)));
            }
            Inst::Load { from, lanes, .. } => self.reads(from, i64::from(lanes) * 4),
            Inst::Broadcast { from, values, .. } => self.reads(from, i64::from(values) * 4),
            Inst::FmaBroadcast { from, .. } | Inst::DotBroadcast { from, .. } => self.reads(from, 4),
            Inst::Store { to, lanes, .. } => self.writes(to, i64::from(lanes) * 4),
            Inst::StoreBf16 { to, .. } => self.writes(to, vector / 2),
            Inst::TileLoad { from, step, .. } => self.tile(from, step, Walk::reads),
            Inst::TileStore { to, step, .. } => self.tile(to, step, Walk::writes),
            Inst::Constant { .. }
            | Inst::Fma { .. }
            | Inst::Dot { .. }
            | Inst::Binary { .. }
            | Inst::Pattern { .. }
            | Inst::Permute { .. }
            | Inst::ShiftLeft { .. }
            | Inst::RoundBf16 { .. }
            | Inst::TileZero { .. }
            | Inst::TileDot { .. }
            | Inst::Prefetch { .. } => {}
        }
        Some(())
    }

    fn tile(&mut self, first: Address, step: i32, touch: fn(&mut Walk, Address, i64)) {
        for row in 0..TILE_ROWS as i32 {
            let offset = first.offset.saturating_add(row.saturating_mul(step));
            touch(self, Address { offset, ..first }, i64::from(TILE_BYTES));
        }
    }

    fn reads(&mut self, from: Address, bytes: i64) {
        if let Some((parameter, range)) = self.range(from, bytes) {
            join(&mut self.found[parameter].read, range);
        }
    }

    fn writes(&mut self, to: Address, bytes: i64) {
        if let Some((parameter, range)) = self.range(to, bytes) {
            join(&mut self.found[parameter].written, range);
        }
    }

    fn range(&self, Address { base, offset }: Address, bytes: i64) -> Option<(usize, Range<i64>)> {
        let (parameter, at) = self.pointers[base.index()]?;
        let start = at + i64::from(offset);
        Some((parameter, start..start + bytes))
    }

    /// The first, the second and the last iteration.
    fn repeat(&mut self, times: Times, body: &[Inst]) -> Option<()> {
        let times = match times {
            Times::Exactly(times) => times,
            Times::Rows => self.rows,
        };
        if times > 0 {
            self.run(body)?;
        }
        if times > 1 {
            let before = self.pointers.clone();
            self.run(body)?;
            if times > 2 {
                self.move_on(&before, i64::from(times) - 3)?;
                self.run(body)?;
            }
        }
        Some(())
    }

    /// Moves pointers by what an iteration has moved them since `before`, `iterations` times.
    fn move_on(&mut self, before: &[Place], iterations: i64) -> Option<()> {
        for (place, before) in self.pointers.iter_mut().zip(before) {
            match (place, before) {
                (None, _) => {}
                (Some((of, at)), Some((before_of, before_at))) if of == before_of => {
                    *at += (*at - before_at) * iterations;
                }
                _ => return None,
            }
        }
        Some(())
    }
}

fn join(extent: &mut Extent, range: Range<i64>) {
    *extent = Some(match extent.take() {
        Some(known) => known.start.min(range.start)..known.end.max(range.end),
        None => range,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::Builder;

    #[test]
    fn loops_reach_as_far_as_their_last_iteration() {
        let mut b = Builder::new(4, &["in", "out"], true);
        let (from, to, slot) = (b.parameter("in"), b.parameter("out"), b.slot());
        b.repeat(Times::Rows, |b| {
            b.repeat(Times::Exactly(5), |b| {
                b.load(slot, from, -8);
                b.advance(from, 16);
            });
            b.store_lanes(slot, to, 4, 3);
            b.advance(to, -100);
        });
        let kernel = b.finish("k".to_owned());
        for rows in 0..9i64 {
            let found = touched(&kernel, rows as u32).unwrap();
            let read = (rows > 0).then(|| -8..16 * 5 * rows - 8);
            let written = (rows > 0).then(|| 4 - 100 * (rows - 1)..16);
            assert_eq!(found[0], Touched { read, written: None }, "{rows} rows");
            assert_eq!(found[1], Touched { read: None, written }, "{rows} rows");
        }
    }
}
