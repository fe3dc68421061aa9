//! Layers of a fused group, which run strip by strip.

use super::Scheduler;
use crate::graph::{Conv, NodeId, Separable};
use crate::schedule::fusion::{FusedGroup, Windowed};
use crate::schedule::options::PlanError;
use crate::schedule::{
    Algorithm, ConvSchedule, Division, InputActivation, NodeSchedule, SeparableSchedule, Stages, fusion,
    strips,
};

impl Scheduler<'_> {
    pub(super) fn chain(&mut self, group: &FusedGroup) -> Result<(), PlanError> {
        let rows = fusion::layer_rows(self.graph, &group.nodes).unwrap_or_default();
        let runs = strips::section_runs(&rows, &group.sections, group.height);
        let capacities = strips::buffer_rows(&runs, group.nodes.len());
        for (&id, &rows) in group.nodes.iter().zip(&capacities) {
            let schedule = match Windowed::of(&self.node(id).op) {
                Some(Windowed::Pool(_)) => NodeSchedule::Pool(Division::Strips),
                Some(Windowed::Conv(conv)) => NodeSchedule::Conv(self.conv_in_strips(id, conv, rows)?),
                Some(Windowed::Separable(parts)) => {
                    NodeSchedule::Separable(self.separable_in_strips(id, parts, rows)?)
                }
                None => NodeSchedule::Other,
            };
            self.schedule.nodes.insert(id, schedule);
        }
        Ok(())
    }

    pub(super) fn conv_in_strips(
        &mut self,
        id: NodeId,
        conv: &Conv,
        rows: u32,
    ) -> Result<ConvSchedule, PlanError> {
        let (activation, division) = (InputActivation::OnLoad, Division::Strips);
        let width = self.view(id).shape.w();
        if self.rules(id).takes_matmul(self.node(id), conv) {
            self.matrix_plane(id, conv, rows.saturating_mul(width))?;
            return Ok(ConvSchedule { algorithm: Algorithm::Matmul, activation, division });
        }
        let row = if conv.window.is_point() { u32::MAX } else { width };
        let node = self.node(id);
        let direct = self.direct(id, conv, node.fusion.load, node.kernel_post(), row)?;
        let algorithm = match conv.partition.is_one_to_one() {
            true => Algorithm::Depthwise,
            false => {
                let maps = self.maps(id);
                self.choose_algorithms(id, direct, [maps.input.shape, maps.out.shape], false)
            }
        };
        Ok(ConvSchedule { algorithm, activation, division })
    }

    pub(super) fn separable_in_strips(
        &mut self,
        id: NodeId,
        parts: &Separable,
        rows: u32,
    ) -> Result<SeparableSchedule, PlanError> {
        let stages = Stages::Together(Division::Strips);
        if self.rules(id).pointwise_takes_matmul(self.node(id), parts) {
            let pixels = rows.saturating_mul(self.view(id).shape.w());
            self.matrix_plane(id, &parts.pointwise, pixels)?;
            let spatial = self.spatial(id, parts, false)?;
            return Ok(SeparableSchedule { spatial, pointwise: Algorithm::Matmul, stages });
        }
        let (pointwise, _) = self.pointwise_in_vectors(id, parts)?;
        let spatial = self.spatial(id, parts, false)?;
        Ok(SeparableSchedule { spatial, pointwise, stages })
    }
}
