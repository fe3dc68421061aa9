//! Bars and histograms in text.

/// Blocks of one to seven eighths of a column.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar of `share` (0 to 1) of `width` columns, to an eighth of a column.
pub fn bar(share: f64, width: usize) -> String {
    // Shares that are no numbers, negative or above 1 become 0 or 1.
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|eighth| EIGHTHS[eighth]));
    bar
}

/// A bar of `share` (0 to 1) of `width` columns, dark as far as `part` of the width goes, light
/// behind; to a column.
pub fn split_bar(part: f64, share: f64, width: usize) -> String {
    let columns = |share: f64| (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    let (all, dark) = (columns(share), columns(part).min(columns(share)));
    "█".repeat(dark) + &"░".repeat(all - dark)
}

/// One bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The smallest number that counts here.
    pub from: f64,
    /// How many numbers are in it.
    pub count: usize,
}

/// Counts numbers in at most `bins` bins of equal width from the smallest to the largest; one bin
/// when all are equal.
pub fn histogram(numbers: &[f64], bins: usize) -> Vec<Bin> {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if numbers.is_empty() {
        return Vec::new();
    }
    let width = (high - low) / bins as f64;
    if width <= 0.0 {
        return vec![Bin { from: low, count: numbers.len() }];
    }
    let mut counted: Vec<Bin> =
        (0..bins).map(|bin| Bin { from: low + bin as f64 * width, count: 0 }).collect();
    for number in numbers {
        // The largest number is at the end of the last bin.
        let bin = (((number - low) / width) as usize).min(bins - 1);
        counted[bin].count += 1;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_exact_to_an_eighth() {
        assert_eq!([0.0, 0.5, 1.0].map(|share| bar(share, 4)), ["", "██", "████"]);
        assert_eq!([0.125, 0.21875].map(|share| bar(share, 4)), ["▌", "▉"]);
        assert_eq!([-1.0, 7.0, f64::NAN].map(|share| bar(share, 2)), ["", "██", ""]);
    }

    #[test]
    fn split_bars_are_dark_up_to_their_part() {
        assert_eq!([0.25, 0.5, 2.0].map(|part| split_bar(part, 0.5, 8)), ["██░░", "████", "████"]);
        assert_eq!(split_bar(f64::NAN, 1.0, 3), "░░░");
    }

    #[test]
    fn histograms_count_every_number_once() {
        let counts = |numbers: &[f64]| histogram(numbers, 4).iter().map(|bin| bin.count).collect::<Vec<_>>();
        assert_eq!(counts(&[0.0, 0.9, 1.0, 2.0, 3.5, 4.0]), [2, 1, 1, 2]);
        assert_eq!(counts(&[3.0, 3.0]), [2]);
        assert_eq!(counts(&[]), [0; 0]);
    }
}
