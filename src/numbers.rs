//! Numbers as people read them.

/// With a comma between thousands: `22,910,480`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.char_indices() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 rewrite`, `2 rewrites`.
pub fn counted(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", thousands(number as u64))
}

/// As a multiple of `unit`, a power of ten from 100, with two digits behind the point: `1,721.90`;
/// a dash for zero.
pub fn in_units(number: u64, unit: u64) -> String {
    if number == 0 {
        return "-".to_owned();
    }
    let step = unit / 100;
    let hundredths = number / step + u64::from(number % step >= step.div_ceil(2));
    format!("{}.{:02}", thousands(hundredths / 100), hundredths % 100)
}

/// Multiply-adds with four digits or more: `8.357 GMACs`.
pub fn macs(number: u64) -> String {
    scaled(number, 1000.0, &["MACs", "kMACs", "MMACs", "GMACs", "TMACs", "PMACs"], 3)
}

/// Bytes in binary units: `87.40 MiB`.
pub fn bytes(number: u64) -> String {
    scaled(number, 1024.0, &["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"], 2)
}

/// In the largest unit of which there is at least one; a unit is `step` times the one before.
fn scaled(number: u64, step: f64, units: &[&str], decimals: usize) -> String {
    let Some((first, larger)) = units.split_first() else { return number.to_string() };
    if (number as f64) < step {
        return format!("{number} {first}");
    }
    let mut value = number as f64;
    let mut unit = first;
    for next in larger {
        if value < step {
            break;
        }
        value /= step;
        unit = next;
    }
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_thousands() {
        let texts = [0, 7, 999, 1000, 54_528, 22_910_480].map(thousands);
        assert_eq!(texts, ["0", "7", "999", "1,000", "54,528", "22,910,480"]);
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 2000].map(|number| counted(number, "row")), ["0 rows", "1 row", "2,000 rows"]);
    }

    #[test]
    fn multiples_of_units_are_rounded_to_two_digits() {
        let millions = |number| in_units(number, 1_000_000);
        let texts = [0, 4_999, 5_000, 994_999, 995_000, 1_721_904_999].map(millions);
        assert_eq!(texts, ["-", "0.00", "0.01", "0.99", "1.00", "1,721.90"]);
        assert_eq!(millions(u64::MAX), "18,446,744,073,709.55");
        assert_eq!([1, 4, 5, 995].map(|number| in_units(number, 1000)), ["0.00", "0.00", "0.01", "1.00"]);
    }

    #[test]
    fn units_are_the_largest_that_fit() {
        assert_eq!([999, 1000, 8_357_000_000].map(macs), ["999 MACs", "1.000 kMACs", "8.357 GMACs"]);
        assert_eq!([1023, 1024, 91_641_920].map(bytes), ["1023 bytes", "1.00 KiB", "87.40 MiB"]);
        assert_eq!(macs(u64::MAX), "18446.744 PMACs");
    }
}
