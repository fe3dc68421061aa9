//! Cuts of channels into segments.

use super::attributes::{Attributes, Segments};
use super::outline::Extent;
use super::report::Reported;
use super::{Elaborator, limits};
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Partition, PartitionError};

/// Channels cut in segments.
struct Cut {
    /// How many segments there are, as far as that is known.
    count: Option<u32>,
    /// Their sizes, if they fit.
    sizes: Result<Vec<u32>, Reported>,
}

impl Elaborator<'_> {
    /// The segments of a convolution, for which `groups` is another word.
    pub fn conv_segments(&mut self, attributes: &Attributes) -> Result<(Segments, Span), Reported> {
        let name = match (attributes.span_of("segments"), attributes.span_of("groups")) {
            (Some(segments), Some(groups)) => {
                if !attributes.are_known(["segments", "groups"]) {
                    return Err(self.reports.reported());
                }
                let error = Diagnostic::error("E0415", "both `segments` and `groups` are given")
                    .at(groups, "means the same")
                    .also(segments, "as this");
                return Err(self.reports.report(error));
            }
            (None, Some(_)) => "groups",
            _ => "segments",
        };
        let segments = attributes.segments(&mut self.reports, name, Segments::Count(1))?;
        Ok((segments, attributes.span_of(name).unwrap_or(attributes.site)))
    }

    /// The partition of a convolution: as many segments of its filters as of its input.
    pub fn conv_partition(
        &mut self,
        segments: &Segments,
        [channels, filters]: [Extent; 2],
        span: Span,
    ) -> Result<Partition, Reported> {
        let inputs = self.cut(segments, channels, "channels", span)?;
        let outputs = match (segments, inputs.count) {
            (Segments::Sizes(sizes), _) if filters == channels => Ok(sizes.clone()),
            (_, Some(count)) => self.cut(&Segments::Count(count), filters, "filters", span)?.sizes,
            _ => Err(self.reports.reported()),
        };
        let partition = Partition::new(inputs.sizes?, outputs?);
        self.count_segments(partition.segments() as u64, span)?;
        Ok(partition)
    }

    /// The partition of a spatial part: each segment yields its inputs times the multiplier.
    pub fn spatial_partition(
        &mut self,
        attributes: &Attributes,
        segments: Result<Segments, Reported>,
        channels: Extent,
        multiplier: Result<u32, Reported>,
        what: &str,
    ) -> Result<Partition, Reported> {
        let span = attributes.span_of("segments").unwrap_or(attributes.site);
        let inputs = segments.and_then(|segments| self.cut(&segments, channels, what, span)?.sizes);
        let multiplier = multiplier?;
        if u64::from(channels.low()) * u64::from(multiplier) > u64::from(limits::CHANNELS) {
            let message = format!("{channels} channels times the multiplier {multiplier} are too many");
            let span = attributes.span_of("multiplier").unwrap_or(attributes.site);
            return Err(self.reports.report(self.size_limit(Diagnostic::error("E0602", message), span)));
        }
        let inputs = inputs?;
        self.count_segments(inputs.len() as u64, span)?;
        let outputs = inputs.iter().map(|i| i * multiplier).collect();
        Ok(Partition::new(inputs, outputs))
    }

    /// Channels cut in segments. Whether a cut fits is not known when the channels are not.
    fn cut(
        &mut self,
        segments: &Segments,
        channels: Extent,
        what: &str,
        span: Span,
    ) -> Result<Cut, Reported> {
        let count = match segments {
            Segments::Full => channels.value(),
            Segments::Count(n) => Some(*n),
            Segments::Sizes(sizes) => Some(u32::try_from(sizes.len()).unwrap_or(u32::MAX)),
        };
        // The number of channels that comes closest to what is asked for: when it does not do,
        // none does.
        let best = match segments {
            Segments::Sizes(sizes) => {
                let sum: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
                u32::try_from(sum).unwrap_or(u32::MAX).clamp(channels.low(), channels.high())
            }
            _ => channels.high(),
        };
        let fits = match (segments, count) {
            (Segments::Sizes(sizes), _) => Partition::check_sizes(sizes, best),
            (_, Some(count)) if count > best => {
                Err(PartitionError::TooMany { segments: count, channels: best })
            }
            _ => Ok(()),
        };
        fits.map_err(|error| self.bad_cut(&error, count.unwrap_or(best), channels, what, span))?;
        Ok(Cut { count, sizes: self.sizes(segments, channels) })
    }

    /// The sizes of segments that fit, if the channels are known.
    fn sizes(&self, segments: &Segments, channels: Extent) -> Result<Vec<u32>, Reported> {
        let channels = channels.value().ok_or_else(|| self.reports.reported())?;
        let count = match segments {
            Segments::Full => channels,
            Segments::Count(n) => *n,
            Segments::Sizes(sizes) => return Ok(sizes.clone()),
        };
        Partition::even(channels, count).map_err(|_| self.reports.reported())
    }

    /// Counts the segments of a convolution among all.
    fn count_segments(&mut self, count: u64, span: Span) -> Result<(), Reported> {
        if self.hypothetical {
            return Ok(());
        }
        if self.segments > limits::SEGMENTS {
            return Err(self.reports.reported());
        }
        self.segments += count;
        if self.segments <= limits::SEGMENTS {
            return Ok(());
        }
        let message = format!("the convolutions have more than {} segments in all", limits::SEGMENTS);
        Err(self.reports.report(Diagnostic::error("E0606", message).at(span, "reached here")))
    }

    fn bad_cut(
        &mut self,
        error: &PartitionError,
        count: u32,
        channels: Extent,
        what: &str,
        span: Span,
    ) -> Reported {
        let most = channels.high();
        let diagnostic = match error {
            PartitionError::TooMany { .. } => Diagnostic::error(
                "E0501",
                format!("{count} segments of {channels} {what}: there can be at most {most}"),
            )
            .at(span, format!("more than {most}"))
            .suggest(match what {
                "channels" => {
                    format!("write `full` for a segment for each channel, or `min({count}, channels)`")
                }
                _ => format!("use {most} segments or fewer, or more filters"),
            }),
            PartitionError::Sum { sum, .. } => Diagnostic::error(
                "E0502",
                format!("the sizes of the segments sum up to {sum}, not to {channels} {what}"),
            )
            .at(span, format!("sums up to {sum}"))
            .suggest(format!(
                "give the count alone: {count} segments are as even as {channels} {what} allow"
            )),
            other => Diagnostic::error("E0510", other.to_string()).at(span, "not a cut"),
        };
        self.reports.report(diagnostic)
    }
}
