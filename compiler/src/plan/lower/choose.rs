//! Which forms equal segments can take, how long the instructions of each are, and the choice between them.

use super::job::{Job, tile_shape};
use super::place::{Surface, Surfaces, Widths};
use super::runs::Run;
use super::{LARGEST_TILE, Planner, STEP_LIMIT, segments};
use crate::graph::{Activation, NodeId, Post, Shape, Window};
use crate::kernels::sliding::Beside;
use crate::kernels::{segments as segments_kernel, sliding, winograd};
use crate::plan::Precision;
use crate::plan::forms::{
    Candidate, Choice, Form, Panels, PlaneProducts, Segment, Taps, equal_segments, form_runs, sizes,
};
use crate::plan::methods::Methods;
use crate::plan::nest::{NestBuilder, Offset, Operand};
use crate::plan::pack::panel_widths;
use crate::plan::windows::block_runs;
use crate::target::{Isa, Target};
use crate::vector::F32;

/// Most vectors of a panel whose taps share inputs: with more, few pixels fit into the registers beside the weights
/// of a row of taps.
const MOST_VECTORS: u32 = 3;

/// All that the times of the forms of equal segments depend on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    segments: u32,
    channels: (u32, u32),
    /// All segments of the convolution.
    of: usize,
    window: Window,
    load: Activation,
    post: Vec<Post>,
    /// Of the input and the result.
    shapes: (Shape, Shape),
    /// Bytes between pixels of the input.
    pixel: Option<u64>,
    /// How planes would be multiplied, if Winograd's method is possible.
    winograd: Option<PlaneProducts>,
}

impl Planner<'_> {
    /// Chooses the form of each run of equal segments of a convolution from a map to another.
    pub(super) fn choose_forms(&mut self, id: NodeId, job: &mut Job<'_>, shapes: (Shape, Shape)) {
        job.input_pixel = Some(self.view(self.graph.node(id).inputs[0]).pixel);
        job.pairs = job.winograd && self.takes_planes_of_pairs(id);
        job.winograd &=
            self.rows_are_near(id) && self.program.methods(id).suits_winograd(job.conv, shapes.1, job.pairs);
        for (run, segments) in equal_segments(&job.conv.partition).into_iter().enumerate() {
            let candidates = self.candidates(job, &segments, job.forms[run], shapes);
            let is_told = candidates.len() > 1 || job.pairs;
            if is_told {
                let chosen = (self.choose)(&candidates).min(candidates.len() - 1);
                job.forms[run] = candidates[chosen].form;
                let (ic, oc) = sizes(&segments);
                let count = segments.len() as u32;
                self.program.choices.push(Choice { node: id, segments: count, ic, oc, candidates, chosen });
            }
            let planes_ms = self.planes_ms(job, &segments, job.forms[run], shapes);
            *self.planes_ms.entry(id).or_default() += planes_ms;
        }
    }

    /// The forms of equal segments with their times; `plain` is the one that always fits in vectors of f32. Without an alternative its
    /// time is not computed. Where products are those of pairs, there is none.
    fn candidates(
        &mut self,
        job: &Job<'_>,
        segments: &[Segment],
        plain: Form,
        shapes: (Shape, Shape),
    ) -> Vec<Candidate> {
        let winograd = job.winograd.then(|| self.plane_products(job, sizes(segments), shapes.1));
        let question = Question {
            segments: segments.len() as u32,
            channels: sizes(segments),
            of: job.conv.partition.segments(),
            window: job.conv.window,
            load: job.load,
            post: job.post.to_vec(),
            shapes,
            pixel: job.input_pixel,
            winograd,
        };
        if let Some(known) = self.candidates.get(&question) {
            return known.clone();
        }
        let mut forms = match winograd {
            Some(PlaneProducts::Pairs) => Vec::new(),
            _ => job.forms_of(self.program.target, segments, plain, shapes),
        };
        forms.extend(winograd.map(Form::Winograd));
        let alone = forms.len() == 1 && !job.pairs;
        let ms = |form: Form| if alone { 0.0 } else { self.ms(job, segments, form, shapes) };
        let times: Vec<f64> = forms.iter().copied().map(ms).collect();
        let candidates = forms.into_iter().zip(times).map(|(form, ms)| Candidate { form, ms });
        let candidates: Vec<Candidate> = candidates.collect();
        self.candidates.insert(question, candidates.clone());
        candidates
    }

    /// How the planes of Winograd's method would be multiplied, for segments of so many channels.
    fn plane_products(&self, job: &Job<'_>, channels: (u32, u32), out: Shape) -> PlaneProducts {
        let [rows, columns] = winograd::patches(rows_and_columns(out)).map(u64::from);
        let methods = Methods::new(Precision::F32, self.program.target);
        match methods.crossed(channels, rows * columns) {
            _ if job.pairs => PlaneProducts::Pairs,
            Some(vectors) => PlaneProducts::Crossed(vectors),
            None => PlaneProducts::Vectors(
                tile_shape(self.program.target, channels.1, LARGEST_TILE as u32).vectors,
            ),
        }
    }

    /// Whether kernels can reach the next row of each map that a node reads or writes.
    pub(super) fn rows_are_near(&self, id: NodeId) -> bool {
        let values = self.graph.node(id).inputs.iter().chain([&id]);
        values.copied().all(|value| self.view(value).row() <= STEP_LIMIT)
    }

    /// Milliseconds that the calls for one image would take.
    fn ms(&mut self, job: &Job<'_>, segments: &[Segment], form: Form, (input, out): (Shape, Shape)) -> f64 {
        let target = self.program.target;
        let known = self.program.kernels.len();
        let mut b = NestBuilder::new();
        let widths = Widths { input: input.w(), output: out.w(), tile: out.w() };
        let surfaces = surfaces(target, (input, job.input_pixel), out);
        for run in job.runs(&form_runs(segments, form, target.lanes), target.lanes) {
            if let Run::Winograd(run) = &run {
                let sizes = [input, out].map(rows_and_columns);
                let patches = self.large_blocks((job, run), sizes);
                self.winograd_units(&mut b, (job, run), &patches, &surfaces);
            }
            for rows in block_runs(&job.conv.window, input.h(), out.h(), 1) {
                job.run(self, &mut b, &run, (widths, &rows, &surfaces));
            }
        }
        let counts = self.program.counts_of(&b.finish());
        // Kernels of forms that are not chosen are no part of the program.
        self.program.kernels.truncate(known);
        self.kernel_ids.retain(|_, id| id.index() < known);
        target.times.ms(&counts) + self.planes_ms(job, segments, form, (input, out))
    }

    /// Milliseconds that planes take beyond the instructions of kernels; 0 unless the form is
    /// Winograd's method.
    fn planes_ms(
        &self,
        job: &Job<'_>,
        segments: &[Segment],
        form: Form,
        (input, out): (Shape, Shape),
    ) -> f64 {
        let Form::Winograd(_) = form else { return 0.0 };
        let lanes = self.program.target.lanes;
        let sizes = [input, out].map(rows_and_columns);
        let of_run = |run: Run| match run {
            Run::Winograd(run) => self.large_blocks((job, &run), sizes).planes_ms(run.segments),
            _ => 0.0,
        };
        job.runs(&form_runs(segments, form, lanes), lanes).into_iter().map(of_run).sum()
    }
}

fn rows_and_columns(shape: Shape) -> [u32; 2] {
    [shape.h(), shape.w()]
}

/// Maps of these shapes by themselves, with so many bytes between pixels of the input.
fn surfaces(target: Target, (input, input_pixel): (Shape, Option<u64>), out: Shape) -> Surfaces {
    let surface = |operand: Operand, shape: Shape| {
        let pixel = match operand {
            Operand::In => input_pixel.unwrap_or_else(|| target.pixel_bytes(shape.c())),
            _ => target.pixel_bytes(shape.c()),
        } as i64;
        Surface { operand, origin: Offset::default(), pixel, row: i64::from(shape.w()) * pixel }
    };
    Surfaces {
        input: surface(Operand::In, input),
        out: surface(Operand::Out, out),
        add: surface(Operand::Add, out),
    }
}

impl Job<'_> {
    /// The forms that equal segments can take.
    fn forms_of(
        &self,
        target: Target,
        segments: &[Segment],
        plain: Form,
        (input, _): (Shape, Shape),
    ) -> Vec<Form> {
        let Form::Panels(plain) = plain else { return vec![plain] };
        let ((ic, oc), count) = (sizes(segments), segments.len() as u32);
        let mut forms = vec![Form::Panels(plain)];
        if !self.tile_spans_32_bits(target, input) {
            return forms;
        }
        let packed = segments_kernel::packed(target.lanes, (ic, oc), count);
        let fusion = (self.load, self.post);
        let fits = segments::tile_pixels(target, &self.conv.window, self.shape.row, fusion).is_some();
        forms.extend(packed.filter(|_| fits).map(|packed| Form::SideBySide { packed }));
        let is_only = self.conv.partition.segments() == 1;
        let fits = |beside: Beside| is_only && self.sliding_pixels(target, (1, beside)).is_some();
        let shares = sliding::shares(target.lanes, (ic, oc)).filter(|&shares| fits(Beside::Inputs(shares)));
        forms.extend(shares.map(|shares| Form::InputsSideBySide { shares }));
        let pixels = sliding::pixels_beside(target.lanes, oc)
            .filter(|&pixels| self.has_one_value_a_pixel() && fits(Beside::Pixels(pixels)));
        forms.extend(pixels.map(|pixels| Form::PixelsSideBySide { pixels }));
        forms.extend(self.shared_taps(target, plain, (ic, oc)));
        // A block multiplies as often for each vector of outputs as it has inputs, so blocks of more than a vector
        // would take more multiply-adds than segments by themselves.
        let merged = (target.lanes / oc).min(count);
        if merged > 1 {
            let block = Panels { merged, vectors: 1, ..plain };
            forms.push(Form::Panels(block));
            forms.extend(self.shared_taps(target, block, (merged * ic, merged * oc)));
        }
        forms
    }

    /// Whether windows of neighbouring pixels begin at neighbouring values.
    fn has_one_value_a_pixel(&self) -> bool {
        self.conv.window.strides[1] == 1 && self.input_pixel == Some(F32 as u64)
    }

    /// Panels like these, but with taps that share inputs, for blocks of `ic` to `oc` channels.
    fn shared_taps(&self, target: Target, panels: Panels, (ic, oc): (u32, u32)) -> Vec<Form> {
        let (taps, all) = (u64::from(self.conv.window.kernel[1]), oc.div_ceil(target.lanes));
        // Cranelift's code broadcasts the factor of every multiply-add anew, and a vector alone shares a value only
        // between taps.
        if taps == 1 || target.isa == Isa::Baseline {
            return Vec::new();
        }
        let fits = |&vectors: &u32| {
            panel_widths(all, vectors).into_iter().all(|width| {
                let bytes = u64::from(ic) * taps * u64::from(width * target.vector_bytes());
                bytes <= i32::MAX as u64 && self.sliding_pixels(target, (width, Beside::Outputs)).is_some()
            })
        };
        let widths = all.min(2)..=all.min(MOST_VECTORS);
        let forms = widths.filter(fits).map(|vectors| Panels { vectors, taps: Taps::Together, ..panels });
        forms.map(Form::Panels).collect()
    }

    /// Whether all distances in a tile are numbers of 32 bits.
    fn tile_spans_32_bits(&self, target: Target, input: Shape) -> bool {
        let window = &self.conv.window;
        let pixel = target.pixel_bytes(input.c());
        let windows = LARGEST_TILE * u64::from(window.strides[1]);
        let taps = u64::from(window.kernel[1]) * u64::from(window.dilation[1]);
        (windows + taps + 1) * pixel <= i32::MAX as u64
    }
}
