//! Which layers of a file and of a network have the same name, given by a person.

use std::collections::HashMap;

use super::unique;

/// Pairs of positions of layers with the same name on both sides. Names that Keras or xcc make up count
/// layers as they were written and confirm nothing; nor does a name that two layers of a side have.
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

/// True if Keras or xcc makes up such names: a word for a kind of layer, perhaps with a number behind it.
pub(super) fn is_made_up(name: &str) -> bool {
    const WORDS: [&str; 12] = [
        "conv2d",
        "separable_conv2d",
        "depthwise_conv2d",
        "batch_normalization",
        "dense",
        // Keras 1
        "convolution2d",
        "separableconvolution2d",
        "batchnormalization",
        // xcc
        "conv",
        "sepconv",
        "depthwise",
        "bn",
    ];
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    let stem = last.trim_end_matches(|c: char| c.is_ascii_digit());
    WORDS.contains(&last) || stem.strip_suffix('_').is_some_and(|stem| WORDS.contains(&stem))
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
        assert!(is_made_up("middle.3.sepconv_2") && is_made_up("bn") && !is_made_up("block1_conv1"));
    }
}
