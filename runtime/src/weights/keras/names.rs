//! Which layers of a file and of a network have the same name, given by a person.

use std::collections::HashMap;

use super::unique;

/// Pairs of positions of layers with the same name on both sides. Names that Keras or xcc make up
/// count layers as they were written and confirm nothing; nor does a name that two layers of a
/// side have.
pub(super) fn same_names<'a>(
    ours: impl Iterator<Item = &'a str>,
    theirs: impl Iterator<Item = Option<&'a str>>,
) -> Vec<(usize, usize)> {
    let theirs: Vec<Option<&str>> = theirs.collect();
    let whole = places(theirs.iter().copied());
    // A layer of a nested model may be called by its path.
    let last = places(theirs.iter().map(|name| name.and_then(|name| name.rsplit('/').next())));
    let mut ours: Vec<(&str, usize)> =
        unique(ours).into_iter().filter(|(name, _)| !is_made_up(name)).collect();
    ours.sort_unstable_by_key(|&(_, place)| place);
    let mut taken = vec![false; theirs.len()];
    let mut partners: HashMap<usize, usize> = HashMap::new();
    for names in [whole, last] {
        for (name, place) in &ours {
            let partner = names.get(name).filter(|_| !partners.contains_key(place));
            if let Some(&partner) = partner.filter(|&&partner| !taken[partner]) {
                taken[partner] = true;
                partners.insert(*place, partner);
            }
        }
    }
    let mut pairs: Vec<(usize, usize)> = partners.into_iter().collect();
    pairs.sort_unstable();
    pairs
}

/// Positions of the names that only one layer has.
fn places<'a>(names: impl Iterator<Item = Option<&'a str>>) -> HashMap<&'a str, usize> {
    let numbered = unique(names.enumerate().map(|(place, name)| name.ok_or(place)));
    numbered.into_iter().filter_map(|(name, place)| Some((name.ok()?, place))).collect()
}

/// True if such names count layers: words for a kind of layer, perhaps with a number behind them.
/// Keras and xcc make up names of this form, and people who count layers do so in their own order.
pub(super) fn is_made_up(name: &str) -> bool {
    const WORDS: [&str; 28] = [
        "conv",
        "conv2d",
        "convolution",
        "convolution2d",
        "cnv",
        "c",
        "pw",
        "pointwise",
        "pointwiseconv",
        "dw",
        "dwconv",
        "depthwise",
        "depthwiseconv",
        "depthwiseconv2d",
        "sep",
        "sepconv",
        "separable",
        "separableconv2d",
        "separableconvolution2d",
        "bn",
        "norm",
        "batchnorm",
        "batchnormalization",
        "fc",
        "dense",
        "linear",
        "layer",
        "l",
    ];
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    let stem = last.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = stem.len() < last.len();
    let stem: String = stem.to_ascii_lowercase().replace(['_', '-'], "");
    let is_letter = stem.len() == 1;
    // `c` may be a name, `c1` is a count; so is `conv2d`, which ends in a letter.
    WORDS.contains(&stem.as_str()) && (is_numbered || !is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_person_gave_count() {
        let theirs = ["conv2d_1", "stem", "inner/head", "twice", "twice", "bn_1"];
        let ours = ["bn_1", "head", "stem", "twice", "conv2d_1", "middle.3.sepconv_2"];
        let pairs = same_names(ours.into_iter(), theirs.into_iter().map(Some));
        assert_eq!(pairs, [(1, 2), (2, 1)]);
        for name in ["middle.3.sepconv_2", "bn", "dw_1", "Conv2D-3", "fc1000", "batch_normalization", "c1"] {
            assert!(is_made_up(name), "{name}");
        }
        for name in ["block1_conv1", "stem", "head", "c", "conv1_bn", "block2_sepconv1_bn", "predictions"] {
            assert!(!is_made_up(name), "{name}");
        }
    }
}
