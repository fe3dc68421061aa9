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

/// A progressive JPEG (two scans of DC and AC coefficients), which the encoder above does not
/// make.
const PROGRESSIVE: &[u8] = include_bytes!("fixtures/images/progressive.jpg");

fn load_bytes(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    std::fs::write(&path, bytes).unwrap();
    load(&path, &ImageSpec::default(), Shape::map(5, 7, 3)).map_err(|error| error.to_string())
}

/// No decoder fills in what is missing: every proper beginning of a file is an error.
#[test]
fn an_image_that_is_cut_anywhere_is_an_error() {
    for bytes in [encoded(ImageFormat::Png), encoded(ImageFormat::Jpeg), PROGRESSIVE.to_vec()] {
        let whole = load_bytes(&bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(load_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
        // What follows the end is no part of the image.
        assert_eq!(load_bytes(&[&bytes[..], b"trailer"].concat()).unwrap(), whole);
    }
    let jpeg = encoded(ImageFormat::Jpeg);
    let text = load_bytes(&jpeg[..jpeg.len() - 2]).unwrap_err();
    let expected = format!("it was cut off, after {} bytes: its end-of-image marker", jpeg.len() - 2);
    assert!(text.contains(&expected), "{text}");
}

/// A PNG's chunks have checksums; whichever byte of the pixels or of their checksum changes is
/// noticed.
#[test]
fn a_changed_byte_of_a_png_is_an_error() {
    let bytes = encoded(ImageFormat::Png);
    let start = bytes.windows(4).position(|kind| kind == b"IDAT").unwrap();
    let end = bytes.len() - 12;
    for at in start + 4..end {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(load_bytes(&changed).is_err(), "byte {at} of {}", bytes.len());
    }
}

#[test]
fn other_files_are_named_with_the_way_out() {
    for (bytes, expected) in [
        (&b"RIFF\x10\0\0\0WEBPVP8 "[..], "this is a WebP image, which is not read: convert it to PNG"),
        (b"GIF89a\x01\0\x01\0", "this is a GIF image, which is not read: convert it to PNG"),
        (b"\x93NUMPY\x01\0", "this is a NumPy array, not an image: arrays are given with `--input`"),
        (b"\x89HDF\r\n\x1a\n", "this is an HDF5 file, not an image: weights are given with `--weights`"),
        (b"<!DOCTYPE html>", "this is a web page, not an image: the download stopped"),
        (b"no image", "neither a PNG nor a JPEG image"),
    ] {
        let text = load_bytes(bytes).unwrap_err();
        assert!(text.contains(expected), "{text}");
    }
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
