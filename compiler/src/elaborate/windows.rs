//! Windows over maps: where they fit, and what they yield.

use super::attributes::{Attributes, Padding};
use super::outline::Extent;
use super::report::Reported;
use super::{Elaborator, Operand, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Pads, Window};

const POINT: [u32; 2] = [1, 1];

/// A window over a map, as written; what there is a mistake in is not known.
pub struct WindowAttributes {
    /// Taps.
    kernel: Result<[u32; 2], Reported>,
    /// Distance between windows.
    strides: Result<[u32; 2], Reported>,
    /// Distance between taps.
    dilation: Result<[u32; 2], Reported>,
    /// Padding.
    padding: Result<Padding, Reported>,
    /// Where the window is given.
    span: Span,
}

/// A window over a map.
pub struct Placed {
    /// The window, if it is known and fits.
    pub window: Result<Window, Reported>,
    /// Rows and columns of the result.
    pub sides: [Extent; 2],
}

impl Elaborator<'_> {
    /// The window of a layer; `name` is its kernel.
    pub fn window_attributes(&mut self, attributes: &Attributes, name: &'static str) -> WindowAttributes {
        let kernel = attributes.pair(&mut self.reports, name, limits::WINDOW, Ok(POINT));
        // Pools move by their own size unless they are told otherwise.
        let stride = if name == "window" { kernel } else { Ok(POINT) };
        let strides = attributes.pair(&mut self.reports, "strides", limits::STRIDE, stride);
        let dilation = attributes.pair(&mut self.reports, "dilation", limits::WINDOW, Ok(POINT));
        let padding = attributes.padding(&mut self.reports);
        let span = attributes.span_of(name).unwrap_or(attributes.site);
        WindowAttributes { kernel, strides, dilation, padding, span }
    }

    /// The window over a map, and the rows and columns of the result.
    pub fn place_window(&mut self, wanted: &WindowAttributes, input: &Operand) -> Placed {
        let sides = input.outline.sides();
        match (wanted.padding, wanted.strides) {
            (Ok(Padding::Same), Ok(strides)) => Placed {
                window: self.same_window(wanted, strides, sides),
                sides: [0, 1].map(|axis| {
                    let side = sides[axis].through(|size| Some(size.div_ceil(strides[axis])));
                    side.unwrap_or(Extent::UNKNOWN)
                }),
            },
            (Ok(Padding::Explicit([top, bottom, left, right])), Ok(strides)) => {
                let pads = Pads { top, bottom, left, right };
                self.padded_window(wanted, strides, pads, input)
            }
            // Whatever was meant, it is not taken to enlarge the map.
            _ => Placed { window: Err(self.reports.reported()), sides: sides.map(Extent::at_most) },
        }
    }

    /// The window with as much padding as `same` asks for.
    fn same_window(
        &mut self,
        wanted: &WindowAttributes,
        strides: [u32; 2],
        sides: [Extent; 2],
    ) -> Result<Window, Reported> {
        let (kernel, dilation) = (wanted.kernel?, wanted.dilation?);
        let mut window = Window { kernel, strides, dilation, pads: Pads::default() };
        let extent = window.extent();
        let [Some(h), Some(w)] = sides.map(Extent::value) else { return Err(self.reports.reported()) };
        let (top, bottom) = same_pads(h, extent[0], strides[0]);
        let (left, right) = same_pads(w, extent[1], strides[1]);
        window.pads = Pads { top, bottom, left, right };
        Ok(window)
    }

    /// The window with padding of that size.
    fn padded_window(
        &mut self,
        wanted: &WindowAttributes,
        strides: [u32; 2],
        pads: Pads,
        input: &Operand,
    ) -> Placed {
        let sides = input.outline.sides();
        let (Ok(kernel), Ok(dilation)) = (wanted.kernel, wanted.dilation) else {
            return Placed { window: Err(self.reports.reported()), sides: sides.map(Extent::at_most) };
        };
        let window = Window { kernel, strides, dilation, pads };
        if let Err(reported) = self.check_pads(&window, wanted.span) {
            return Placed { window: Err(reported), sides: [Extent::UNKNOWN; 2] };
        }
        let outputs = [0, 1].map(|axis| sides[axis].through(|size| window.output(axis, size)));
        let fits = match outputs {
            [Some(_), Some(_)] => Ok(window),
            _ => Err(self.window_too_large(&window, input, wanted.span)),
        };
        Placed { window: fits, sides: outputs.map(|side| side.unwrap_or(Extent::UNKNOWN)) }
    }

    fn check_pads(&mut self, window: &Window, span: Span) -> Result<(), Reported> {
        let extent = window.extent();
        for axis in [0, 1] {
            let (before, after) = window.pads_of(axis);
            let largest = before.max(after);
            if largest >= extent[axis] {
                let error = Diagnostic::error(
                    "E0509",
                    format!("a padding of {largest} for a window that spans {} pixels", extent[axis]),
                )
                .at(span, "a window in the padding alone would see nothing")
                .suggest(format!("pad by {} or less, or write `padding: same`", extent[axis] - 1));
                return Err(self.reports.report(error));
            }
        }
        Ok(())
    }

    fn window_too_large(&mut self, window: &Window, input: &Operand, span: Span) -> Reported {
        let [rows, columns] = window.extent();
        let [h, w] = input.outline.sides();
        let pads = window.pads;
        let padded = match pads == Pads::default() {
            true => String::new(),
            false => {
                let by = |a: u32, b: u32| Extent::exact(a.saturating_add(b));
                let (h, w) = (h.plus(by(pads.top, pads.bottom)), w.plus(by(pads.left, pads.right)));
                format!(", with padding {h}x{w}")
            }
        };
        let error = Diagnostic::error(
            "E0506",
            format!("a window of {rows}x{columns} does not fit into a map of {h}x{w}{padded}"),
        )
        .at(span, format!("larger than its input of {}", input.outline))
        .suggest(format!(
            "use a window of at most {}x{}, or `padding: same`",
            rows.min(h.high()),
            columns.min(w.high())
        ));
        self.reports.report(input.blame(error))
    }
}

/// TensorFlow's `same`: the output has `ceil(size / stride)` pixels; an odd row or column of
/// padding goes after.
fn same_pads(size: u32, extent: u32, stride: u32) -> (u32, u32) {
    let covered = (u64::from(size.div_ceil(stride)) - 1) * u64::from(stride) + u64::from(extent);
    // Less than `extent`, since the last window starts within the map.
    let total = covered.saturating_sub(u64::from(size)) as u32;
    (total / 2, total - total / 2)
}
