//! Images (PNG and JPEG) as inputs of a network, the way its spec says.
//!
//! 1. **Decoding.** The content decides on the format, not the name. A JPEG's stored orientation is applied.
//!    Samples of 16 bits are brought to the scale 0 to 255 without rounding; palettes are resolved.
//! 2. **Colour.** Alpha is dropped, as Pillow's `convert("RGB")` and with it Keras do. A gray image gives all
//!    three samples of a coloured input. A coloured image becomes gray by the weights of ITU-R BT.601 (0.299,
//!    0.587, 0.114), as in Pillow and OpenCV.
//! 3. **Size.** The whole image is stretched to the input's rows and columns with a triangle filter whose
//!    support grows with the reduction (see [`mod@resize`]): the method that Pillow calls `BILINEAR`. An image
//!    that has the input's size already is left as it is.
//! 4. **Range.** Samples from 0 to 255 go linearly to [`ImageSpec::range`], are put in the order of
//!    [`ImageSpec::channels`], and [`ImageSpec::mean`] is subtracted.

pub mod resize;
mod whole;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;
use xcc_compiler::graph::{ChannelOrder, ImageSpec, Shape};

use crate::content::{self, Wanted};
use crate::shown::{self, Shown};
use crate::stamp::Stamp;
use crate::workers::spread;
use resize::{Samples, resize};

/// Most rows or columns of an image.
pub const SIDE_LIMIT: u32 = 16_384;
/// Most pixels of an image; each takes up to twelve bytes before it is resized.
pub const MOST_PIXELS: u64 = 64 << 20;
/// Most bytes that decoding one image may take: enough for as many pixels of three bytes.
pub const DECODING_BYTES: u64 = 3 * MOST_PIXELS;

/// Most bytes of a file of an image: more than its pixels can take without any compression.
pub const FILE_BYTES: u64 = 8 * MOST_PIXELS;

/// Why an image cannot be an input.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", shown::path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The content is neither PNG nor JPEG.
    #[error("{}: neither a PNG nor a JPEG image", shown::path(path))]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another kind.
    #[error("{}: this is {what}", shown::path(path))]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is and the way out, in words.
        what: String,
    },
    /// The image is damaged, cut off, of an unusual kind, or too large.
    #[error("{}: cannot decode the image: {}", shown::path(path), Shown(reason))]
    Decoding {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file changed while it was decoded.
    #[error("{}: {change}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What changed, and the way out.
        change: String,
    },
    /// The network does not read images.
    #[error(
        "the network's input {input} is no image: images give 3 channels (rgb, bgr) or 1 (gray); give an array instead"
    )]
    NoImages {
        /// Shape of one input.
        input: Shape,
    },
}

/// Reads images in parallel as inputs of shape `input` (HWC), in the order of `paths`, or every
/// error there is.
pub fn load_all(paths: &[PathBuf], spec: &ImageSpec, input: Shape) -> Result<Vec<Vec<f32>>, Vec<ImageError>> {
    if samples_of(spec) != input.c() {
        return Err(vec![ImageError::NoImages { input }]);
    }
    let loaded: Vec<_> = spread(|| paths.par_iter().map(|path| load(path, spec, input)).collect());
    let (images, errors): (Vec<_>, Vec<_>) = loaded.into_iter().partition(Result::is_ok);
    match errors.is_empty() {
        true => Ok(images.into_iter().flatten().collect()),
        false => Err(errors.into_iter().filter_map(Result::err).collect()),
    }
}

/// Reads one image as an input of shape `input` (HWC).
pub fn load(path: &Path, spec: &ImageSpec, input: Shape) -> Result<Vec<f32>, ImageError> {
    if samples_of(spec) != input.c() {
        return Err(ImageError::NoImages { input });
    }
    let image = decode_unchanged(path)?;
    let samples = resize(samples(&image, spec.channels == ChannelOrder::Gray), input.h(), input.w());
    Ok(scale(samples, spec))
}

/// Samples of a pixel, which are the channels of an input that is an image.
pub fn samples_of(spec: &ImageSpec) -> u32 {
    match spec.channels {
        ChannelOrder::Rgb | ChannelOrder::Bgr => 3,
        ChannelOrder::Gray => 1,
    }
}

/// Decodes a file that stays as it is meanwhile.
fn decode_unchanged(path: &Path) -> Result<DynamicImage, ImageError> {
    let stamp = || Stamp::at(path).map_err(|source| ImageError::Io { path: path.to_owned(), source });
    let before = stamp()?;
    let image = decode(path);
    match before.change(stamp()?) {
        Some(change) => Err(ImageError::Changed { path: path.to_owned(), change }),
        None => image,
    }
}

fn decode(path: &Path) -> Result<DynamicImage, ImageError> {
    let io = |source| ImageError::Io { path: path.to_owned(), source };
    let decoding = |error: image::ImageError| match error {
        image::ImageError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            io(source)
        }
        error => ImageError::Decoding { path: path.to_owned(), reason: one_line(&error.to_string()) },
    };
    let bytes = contents(path)?;
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(io)?;
    let format = reader.format().filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg));
    let format = format.ok_or_else(|| other_kind(path))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_LIMIT);
    limits.max_image_height = Some(SIDE_LIMIT);
    limits.max_alloc = Some(DECODING_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(decoding)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        let reason =
            format!("{width}x{height} pixels are more than the {MOST_PIXELS} that an image may have");
        return Err(ImageError::Decoding { path: path.to_owned(), reason });
    }
    limits.reserve(decoder.total_bytes()).map_err(decoding)?;
    let orientation = decoder.orientation().map_err(decoding)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(decoding)?;
    whole::check(&bytes, format).map_err(|reason| ImageError::Decoding { path: path.to_owned(), reason })?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The bytes of a file that is no larger than that of an image.
fn contents(path: &Path) -> Result<Vec<u8>, ImageError> {
    let io = |source| ImageError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if path.is_dir() {
        return Err(other_kind(path));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    match bytes.len() as u64 > FILE_BYTES {
        true => {
            let reason = format!("the file is larger than {FILE_BYTES} bytes");
            Err(ImageError::Decoding { path: path.to_owned(), reason })
        }
        false => Ok(bytes),
    }
}

/// The error for a file that is neither PNG nor JPEG.
fn other_kind(path: &Path) -> ImageError {
    match content::mistaken(path, Wanted::Image) {
        Some(what) => ImageError::OtherKind { path: path.to_owned(), what },
        None => ImageError::UnknownFormat { path: path.to_owned() },
    }
}

/// Decoders end some of their reasons with a line break.
fn one_line(reason: &str) -> String {
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The samples of an image from 0 to 255, one or three a pixel.
fn samples(image: &DynamicImage, gray: bool) -> Samples {
    let (width, height) = (image.width(), image.height());
    let values = match (is_deep(image.color()), image.color().has_color()) {
        (false, false) => from_gray(image.to_luma8().into_raw().into_iter().map(f32::from), gray),
        (false, true) => from_color(image.to_rgb8().into_raw().into_iter().map(f32::from).collect(), gray),
        (true, false) => from_gray(image.to_luma16().into_raw().into_iter().map(deep_sample), gray),
        (true, true) => from_color(image.to_rgb16().into_raw().into_iter().map(deep_sample).collect(), gray),
    };
    Samples { height, width, channels: if gray { 1 } else { 3 }, values }
}

fn is_deep(color: ColorType) -> bool {
    color.bytes_per_pixel() / color.channel_count() > 1
}

/// A sample of 16 bits on the scale of 8: 65535 becomes 255.
fn deep_sample(sample: u16) -> f32 {
    f32::from(sample) / 257.0
}

fn from_gray(samples: impl Iterator<Item = f32>, gray: bool) -> Vec<f32> {
    match gray {
        true => samples.collect(),
        false => samples.flat_map(|sample| [sample; 3]).collect(),
    }
}

fn from_color(samples: Vec<f32>, gray: bool) -> Vec<f32> {
    match gray {
        true => samples.as_chunks().0.iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).collect(),
        false => samples,
    }
}

/// Brings samples to the range, order and mean of the spec.
fn scale(samples: Samples, spec: &ImageSpec) -> Vec<f32> {
    let channels = samples.channels;
    let [low, high] = spec.range.map(f64::from);
    let mut values = samples.values;
    for pixel in values.chunks_exact_mut(channels) {
        if spec.channels == ChannelOrder::Bgr {
            pixel.reverse();
        }
        for (channel, value) in pixel.iter_mut().enumerate() {
            let mean = spec.mean.get(channel).copied().unwrap_or(0.0);
            *value = (low + f64::from(*value) * (high - low) / 255.0 - f64::from(mean)) as f32;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

    fn spec(channels: ChannelOrder, range: [f32; 2], mean: &[f32]) -> ImageSpec {
        ImageSpec { range, channels, mean: mean.to_vec(), ..ImageSpec::default() }
    }

    fn saved(image: impl Into<DynamicImage>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        // A name without a meaning: the content decides.
        let path = folder.path().join("image");
        image.into().save_with_format(&path, ImageFormat::Png).unwrap();
        (folder, path)
    }

    #[test]
    fn samples_go_to_the_range_in_the_order_of_the_spec() {
        let mut image = RgbImage::new(2, 1);
        image.put_pixel(0, 0, Rgb([255, 0, 51]));
        image.put_pixel(1, 0, Rgb([0, 255, 102]));
        let (_folder, path) = saved(image);
        let shape = Shape::map(1, 2, 3);
        let load = |spec| load(&path, &spec, shape).unwrap();
        assert_eq!(load(spec(ChannelOrder::Rgb, [0.0, 255.0], &[])), [255.0, 0.0, 51.0, 0.0, 255.0, 102.0]);
        assert_eq!(load(spec(ChannelOrder::Bgr, [-1.0, 1.0], &[])), [-0.6, -1.0, 1.0, -0.2, 1.0, -1.0]);
        let caffe = spec(ChannelOrder::Bgr, [0.0, 255.0], &[1.0, 2.0, 3.0]);
        assert_eq!(load(caffe), [50.0, -2.0, 252.0, 101.0, 253.0, -3.0]);
    }

    #[test]
    fn colours_become_gray_by_the_weights_of_bt_601() {
        let (_folder, path) = saved(RgbImage::from_pixel(1, 1, Rgb([100, 200, 50])));
        let gray = load(&path, &spec(ChannelOrder::Gray, [0.0, 255.0], &[]), Shape::map(1, 1, 1)).unwrap();
        assert!((gray[0] - 153.0).abs() < 1e-3, "{gray:?}");
    }

    #[test]
    fn every_kind_of_png_gives_the_same_colours() {
        let deep = |sample: u8| u16::from(sample) * 257;
        let gray: [DynamicImage; 3] = [
            GrayImage::from_pixel(2, 2, Luma([7])).into(),
            GrayAlphaImage::from_pixel(2, 2, LumaA([7, 0])).into(),
            ImageBuffer::from_pixel(2, 2, Luma([deep(7)])).into(),
        ];
        let coloured: [DynamicImage; 3] = [
            RgbImage::from_pixel(2, 2, Rgb([7, 8, 9])).into(),
            RgbaImage::from_pixel(2, 2, Rgba([7, 8, 9, 0])).into(),
            ImageBuffer::from_pixel(2, 2, Rgb([7, 8, 9].map(deep))).into(),
        ];
        let expected = [[7.0, 7.0, 7.0], [7.0, 8.0, 9.0]];
        for (kinds, expected) in [gray, coloured].into_iter().zip(expected) {
            for image in kinds {
                let color = image.color();
                let (_folder, path) = saved(image);
                let spec = spec(ChannelOrder::Rgb, [0.0, 255.0], &[]);
                let found = load(&path, &spec, Shape::map(2, 2, 3)).unwrap();
                assert_eq!(found, expected.repeat(4), "{color:?}");
            }
        }
    }

    #[test]
    fn all_bad_files_are_named_at_once() {
        let (folder, good) = saved(GrayImage::new(3, 3));
        let bytes = std::fs::read(&good).unwrap();
        let (text, cut, absent) = (folder.path().join("t"), folder.path().join("c"), folder.path().join("a"));
        std::fs::write(&text, "no image").unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
        let paths = [good, text, cut, absent];
        let errors = load_all(&paths, &ImageSpec::default(), Shape::map(3, 3, 3)).unwrap_err();
        assert!(
            matches!(
                &errors[..],
                [ImageError::UnknownFormat { .. }, ImageError::Decoding { .. }, ImageError::Io { .. }]
            ),
            "{errors:?}"
        );
        let error = load_all(&paths, &ImageSpec::default(), Shape::map(3, 3, 4)).unwrap_err();
        assert!(matches!(error[..], [ImageError::NoImages { .. }]));
    }

    /// A header may promise four billion pixels a row; they must not be allocated.
    #[test]
    fn lying_headers_are_refused() {
        let (_folder, path) = saved(GrayImage::new(3, 3));
        let mut bytes = std::fs::read(&path).unwrap();
        for (width, height) in [(0x7fff_ffffu32, 0x7fff_ffffu32), (16_384, 16_384), (20_000, 3)] {
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let crc = crc32(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.to_be_bytes());
            std::fs::write(&path, &bytes).unwrap();
            let error = load(&path, &ImageSpec::default(), Shape::map(3, 3, 3)).unwrap_err().to_string();
            assert!(error.contains("imit") || error.contains("pixels are more than"), "{error}");
        }
    }

    /// The checksum of a PNG's chunk (ISO 3309), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
    }

    #[test]
    fn a_jpeg_is_read_closely() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.jpg");
        RgbImage::from_pixel(16, 16, Rgb([200, 100, 50])).save(&path).unwrap();
        let spec = spec(ChannelOrder::Rgb, [0.0, 255.0], &[]);
        let found = load(&path, &spec, Shape::map(16, 16, 3)).unwrap();
        for (value, exact) in found.iter().zip([200.0, 100.0, 50.0].iter().cycle()) {
            assert!((value - exact).abs() < 4.0, "{value} for {exact}");
        }
    }
}
