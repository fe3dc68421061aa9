//! Damaged images: an error or some pixels, never a panic.

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use xcc_compiler::graph::{ImageSpec, Shape};
use xcc_runtime::image::load;

/// A small file with something to see in it.
fn encoded(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(20, 12, |x, y| Rgb([x as u8 * 12, y as u8 * 20, (x * y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_an_image(
        png in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = encoded(if png { ImageFormat::Png } else { ImageFormat::Jpeg });
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, &bytes).unwrap();
        match load(&path, &ImageSpec::default(), Shape::map(5, 7, 3)) {
            Ok(values) => prop_assert!(values.len() == 105 && values.iter().all(|x| (-0.01..=1.01).contains(x))),
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}
