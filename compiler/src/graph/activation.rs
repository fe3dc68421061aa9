//! Activation functions: one table, with a row for each, from which the language, the text of
//! graphs, passes, kernels, the matching of Keras' files and pictures take what they know of a
//! function. The formulas themselves are code: kernels (`kernels/epilogue.rs`), the reference
//! evaluator and ONNX's nodes have a match without a catch-all arm each, so that a new row does
//! not compile until they have it.

use std::fmt;
use std::str::FromStr;

/// What is known of a function besides its formula.
#[derive(Debug)]
pub struct Traits {
    /// Its word in the language and in the text of graphs.
    pub word: &'static str,
    /// Further words of the language for it.
    pub aliases: &'static [&'static str],
    /// Names of Keras' functions that compute it.
    pub keras: &'static [&'static str],
    /// Keras' class of layers that apply it, in snake case, if it has one to itself.
    pub keras_class: Option<&'static str>,
    /// What it is called elsewhere, in small letters and without underscores, where that is
    /// another name.
    pub elsewhere: &'static [&'static str],
    /// Its name in pictures and summaries.
    pub title: &'static str,
    /// f(0) = 0: it may be applied before zero padding as well as after it.
    pub keeps_zero: bool,
    /// It never decreases: it may be applied before a maximum as well as after it.
    pub is_monotone: bool,
    /// It takes at most two operations for a vector, so that convolutions may apply it on load,
    /// once for each tap.
    pub is_cheap: bool,
    /// Temporary slots of its kernel code.
    pub temporaries: usize,
}

/// Slope of a function below zero, from 0 to 1, so that the function is max(x, slope * x).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slope(u32);

impl Slope {
    /// The slope of Keras' function `leaky_relu`.
    pub const DEFAULT: Slope = Slope(0.2_f32.to_bits());

    /// Nothing for numbers that are not from 0 to 1.
    pub fn new(value: f32) -> Option<Self> {
        // The sum is zero without a sign for either zero.
        (0.0..=1.0).contains(&value).then(|| Self((value + 0.0).to_bits()))
    }

    /// The number.
    pub fn value(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// The shortest digits that read as the same number.
impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.value())
    }
}

impl fmt::Debug for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Declares the enumeration, [`Activation::ALL`] and [`Activation::traits`] from the rows of the
/// table. A parameter comes with the value that it has in [`Activation::ALL`].
macro_rules! activations {
    ($($(#[$attribute:meta])* $name:ident $(($parameter:ty = $default:expr))? { $($traits:tt)* })*) => {
        /// An activation function.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Activation {
            $($(#[$attribute])* $name $(($parameter))?,)*
        }

        impl Activation {
            /// Every function, [`Activation::Linear`] first, with default parameters.
            pub const ALL: [Activation; [$(stringify!($name)),*].len()] =
                [$(Activation::$name $(($default))?),*];

            /// The function's row of the table.
            pub fn traits(self) -> &'static Traits {
                match self {
                    $(Activation::$name { .. } => &Traits { $($traits)* },)*
                }
            }
        }
    };
}

activations! {
    /// The identity.
    #[default]
    Linear {
        word: "linear",
        aliases: &[],
        keras: &["linear"],
        keras_class: None,
        elsewhere: &[],
        title: "Linear",
        keeps_zero: true,
        is_monotone: true,
        is_cheap: true,
        temporaries: 0,
    }

    /// max(x, 0)
    Relu {
        word: "relu",
        aliases: &[],
        keras: &["relu"],
        keras_class: Some("re_lu"),
        elsewhere: &[],
        title: "ReLU",
        keeps_zero: true,
        is_monotone: true,
        is_cheap: true,
        temporaries: 1,
    }

    /// min(max(x, 0), 6)
    Relu6 {
        word: "relu6",
        aliases: &[],
        keras: &["relu6"],
        keras_class: None,
        elsewhere: &[],
        title: "ReLU6",
        keeps_zero: true,
        is_monotone: true,
        is_cheap: true,
        temporaries: 1,
    }

    /// x where x > 0, else exp(x) - 1 (Clevert et al., arXiv 1511.07289, with alpha = 1)
    Elu {
        word: "elu",
        aliases: &[],
        keras: &["elu"],
        keras_class: Some("elu"),
        elsewhere: &[],
        title: "ELU",
        keeps_zero: true,
        is_monotone: true,
        is_cheap: false,
        temporaries: 4,
    }

    /// 1 / (1 + exp(-x))
    Sigmoid {
        word: "sigmoid",
        aliases: &[],
        keras: &["sigmoid"],
        keras_class: None,
        elsewhere: &[],
        title: "Sigmoid",
        keeps_zero: false,
        is_monotone: true,
        is_cheap: false,
        temporaries: 3,
    }

    /// min(max(x + 3, 0), 6) / 6 (Howard et al., arXiv 1905.02244), as in Keras 3. Keras 1 and 2
    /// have min(max(0.2 x + 0.5, 0), 1).
    HardSigmoid {
        word: "hard_sigmoid",
        aliases: &[],
        keras: &["hard_sigmoid"],
        keras_class: None,
        elsewhere: &["hsigmoid"],
        title: "HardSigmoid",
        keeps_zero: false,
        is_monotone: true,
        is_cheap: false,
        temporaries: 1,
    }

    /// x / (1 + exp(-x)) (Elfwing et al., arXiv 1702.03118; Ramachandran et al., arXiv 1710.05941,
    /// with beta = 1)
    Swish {
        word: "swish",
        aliases: &["silu"],
        keras: &["swish", "silu"],
        keras_class: None,
        elsewhere: &["swish1"],
        title: "Swish",
        keeps_zero: true,
        is_monotone: false,
        is_cheap: false,
        temporaries: 4,
    }

    /// x * min(max(x + 3, 0), 6) / 6 (Howard et al., arXiv 1905.02244)
    HardSwish {
        word: "hard_swish",
        aliases: &[],
        keras: &["hard_swish", "hard_silu"],
        keras_class: None,
        elsewhere: &["hardsilu", "hswish"],
        title: "HardSwish",
        keeps_zero: true,
        is_monotone: false,
        is_cheap: false,
        temporaries: 2,
    }

    /// x where x > 0, else slope * x (Maas et al., 2013)
    LeakyRelu(Slope = Slope::DEFAULT) {
        word: "leaky_relu",
        aliases: &[],
        keras: &["leaky_relu"],
        keras_class: Some("leaky_re_lu"),
        elsewhere: &["lrelu"],
        title: "LeakyReLU",
        keeps_zero: true,
        is_monotone: true,
        is_cheap: true,
        temporaries: 1,
    }

    /// (1 - exp(-2 x)) / (1 + exp(-2 x))
    Tanh {
        word: "tanh",
        aliases: &[],
        keras: &["tanh"],
        keras_class: None,
        elsewhere: &[],
        title: "Tanh",
        keeps_zero: true,
        is_monotone: true,
        is_cheap: false,
        temporaries: 3,
    }
}

impl Activation {
    /// Its words in the language.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let Traits { word, aliases, .. } = self.traits();
        std::iter::once(*word).chain(aliases.iter().copied())
    }

    /// The function that Keras calls `name`.
    pub fn of_keras(name: &str) -> Option<Self> {
        Activation::ALL.into_iter().find(|function| function.traits().keras.contains(&name))
    }

    /// Its parameter, for functions that have one.
    pub fn slope(self) -> Option<Slope> {
        match self {
            Activation::LeakyRelu(slope) => Some(slope),
            Activation::Linear
            | Activation::Relu
            | Activation::Relu6
            | Activation::Elu
            | Activation::Sigmoid
            | Activation::HardSigmoid
            | Activation::Swish
            | Activation::HardSwish
            | Activation::Tanh => None,
        }
    }

    /// The same function with another parameter, if it has one.
    #[must_use]
    pub fn with_slope(self, slope: Slope) -> Self {
        self.slope().map_or(self, |_| Activation::LeakyRelu(slope))
    }

    /// Its title, with its parameter.
    pub fn title(self) -> String {
        let title = self.traits().title;
        self.slope().map_or_else(|| title.to_owned(), |slope| format!("{title} {slope}"))
    }
}

/// Prints the word, and behind it the parameter: `relu`, `leaky_relu_0.2`.
impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traits().word)?;
        self.slope().map_or(Ok(()), |slope| write!(f, "_{slope}"))
    }
}

/// No function prints as the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no activation function prints so")]
pub struct UnknownActivation;

/// Reads what [`Activation`] prints.
impl FromStr for Activation {
    type Err = UnknownActivation;

    fn from_str(text: &str) -> Result<Self, UnknownActivation> {
        let read = |function: Activation| {
            let rest = text.strip_prefix(function.traits().word)?;
            match function.slope() {
                None => rest.is_empty().then_some(function),
                Some(_) => {
                    let slope = Slope::new(rest.strip_prefix('_')?.parse().ok()?)?;
                    Some(function.with_slope(slope))
                }
            }
        };
        Activation::ALL.into_iter().find_map(read).ok_or(UnknownActivation)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_name_has_one_meaning() {
        let mut words = HashSet::from(["none", "softmax"]);
        let mut keras = HashSet::new();
        for function in Activation::ALL {
            let Traits { keras: names, elsewhere, .. } = function.traits();
            assert!(
                function.words().chain(elsewhere.iter().copied()).all(|word| words.insert(word)),
                "{function}"
            );
            assert!(names.iter().all(|name| keras.insert(name)), "{function}");
            assert!(names.iter().all(|name| Activation::of_keras(name) == Some(function)), "{function}");
        }
        assert_eq!(Activation::of_keras("gelu"), None);
    }

    #[test]
    fn what_is_applied_on_load_keeps_padding_zero() {
        for function in Activation::ALL {
            let Traits { keeps_zero, is_cheap, .. } = function.traits();
            assert!(*keeps_zero || !is_cheap, "{function}");
        }
    }

    #[test]
    fn slopes_are_numbers_from_zero_to_one() {
        for value in [-0.1, 1.1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Slope::new(value), None);
        }
        assert_eq!(Slope::new(-0.0), Slope::new(0.0));
        assert_eq!(Slope::new(0.2), Some(Slope::DEFAULT));
        assert_eq!(Activation::LeakyRelu(Slope::DEFAULT).to_string(), "leaky_relu_0.2");
        assert_eq!(Activation::LeakyRelu(Slope::DEFAULT).title(), "LeakyReLU 0.2");
        assert_eq!(Activation::Relu.with_slope(Slope::DEFAULT), Activation::Relu);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(place in 0..Activation::ALL.len(), slope in 0.0_f32..=1.0) {
            let function = Activation::ALL[place].with_slope(Slope::new(slope).unwrap());
            prop_assert_eq!(function.to_string().parse(), Ok(function));
        }

        #[test]
        fn other_texts_are_refused(text in "(relu|leaky_relu|tanh)?_?([0-9.e+-]{0,6}|nan|inf)") {
            if let Ok(function) = text.parse::<Activation>() {
                prop_assert!(function.slope().is_some() || function.to_string() == text);
            }
        }
    }
}
