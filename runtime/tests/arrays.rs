//! Array files: against another reader and writer, and against damage.

use std::path::{Path, PathBuf};

use npyz::WriterBuilder;
use proptest::prelude::*;
use xcc_compiler::graph::Shape;
use xcc_runtime::npy::{self, Array, NpyError};

/// A folder and the path of a file in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    (folder, path)
}

/// An array file as another library writes it.
fn foreign<T: npyz::AutoSerialize + Copy>(shape: &[u64], order: npyz::Order, values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).order(order);
    let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<Array, NpyError> {
    let (_folder, path) = place();
    std::fs::write(&path, bytes).unwrap();
    npy::read(&path)
}

/// What is wrong with a file, without its path.
fn reason(bytes: &[u8]) -> String {
    match read(bytes) {
        Err(NpyError::Format { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A file with the given header text and no elements.
fn with_header(text: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn every_type_of_element_is_taken_as_it_is() {
    let order = npyz::Order::C;
    let expected = Array { shape: vec![3, 1], values: vec![0.0, 3.0, 255.0] };
    assert_eq!(read(&foreign::<u8>(&[3, 1], order, &[0, 3, 255])).unwrap(), expected);
    assert_eq!(read(&foreign::<f32>(&[3, 1], order, &[0.0, 3.0, 255.0])).unwrap(), expected);
    assert_eq!(read(&foreign::<f64>(&[3, 1], order, &[0.0, 3.0, 255.0])).unwrap(), expected);
    let mut big = with_header("{'descr': '>f4', 'fortran_order': False, 'shape': (3, 1)}");
    [0f32, 3.0, 255.0].iter().for_each(|value| big.extend(value.to_be_bytes()));
    assert_eq!(read(&big).unwrap(), expected);
}

#[test]
fn unusual_files_are_refused_with_a_reason() {
    let fortran = foreign::<f32>(&[2, 3], npyz::Order::Fortran, &[0.0; 6]);
    assert!(reason(&fortran).ends_with("save it with numpy.ascontiguousarray(x)"), "{}", reason(&fortran));
    let integers = foreign::<i64>(&[2], npyz::Order::C, &[1, 2]);
    assert!(reason(&integers).ends_with("save x.astype('float32')"), "{}", reason(&integers));
    let whole = foreign::<f32>(&[2, 3], npyz::Order::C, &[0.0; 6]);
    assert_eq!(
        reason(&whole[..whole.len() - 1]),
        "an array of shape (2, 3) has 24 bytes of elements, but 23 follow the header"
    );
    assert_eq!(reason(&whole[..40]), "the file ends within the header of an array");
    assert_eq!(reason(b""), "not an array file: .npy files start with \\x93NUMPY");
    let image = reason(b"\x89PNG\r\n\x1a\n");
    assert!(
        image.starts_with("this is a PNG image, not an array: images are given after the spec"),
        "{image}"
    );
    assert_eq!(reason(b"\x93NUMPY\x04\x00"), "version 4 of the format is unknown; 1 to 3 are read");
    assert_eq!(
        reason(b"\x93NUMPY\x02\x00\xff\xff\xff\xff"),
        "a header of 4294967295 bytes; at most 10000 are read"
    );
    let header = |shape: &str| {
        reason(&with_header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")))
    };
    let huge = "(9223372036854775807, 2, 2)";
    assert_eq!(header(huge), format!("an array of shape {huge} is too large"));
    assert!(header("(1, 99999999999999999999)").contains("a number expected"));
    assert!(header(&format!("({})", "1,".repeat(65))).contains("more than 64 axes"));
}

/// NumPy marks arrays that are in both orders as either.
#[test]
fn an_array_in_both_orders_is_read() {
    let array = foreign::<f32>(&[1, 3, 1], npyz::Order::Fortran, &[1.0, 2.0, 3.0]);
    assert_eq!(read(&array).unwrap(), Array { shape: vec![1, 3, 1], values: vec![1.0, 2.0, 3.0] });
}

#[test]
fn inputs_have_the_shape_of_the_network_with_images_before_it_or_not() {
    let (_folder, path) = place();
    let input = Shape::map(2, 1, 3);
    let inputs = |shape: &[u64], count: usize| {
        npy::write(&path, shape, &vec![1.0; count]).unwrap();
        npy::read_inputs(&path, input)
    };
    let floats = |count, elements| npy::Inputs { count, values: vec![1.0; elements], are_bytes: false };
    assert_eq!(inputs(&[2, 1, 3], 6).unwrap(), floats(1, 6));
    assert_eq!(inputs(&[4, 2, 1, 3], 24).unwrap(), floats(4, 24));
    let error = inputs(&[3, 2, 1], 6).unwrap_err().to_string();
    let expected = "the array has shape (3, 2, 1), the network reads 2x1x3: \
                    give (images, 2, 1, 3) or, for one image, (2, 1, 3)";
    assert!(error.ends_with(expected), "{error}");
    assert!(matches!(inputs(&[0, 2, 1, 3], 0), Err(NpyError::Shape { .. })));
}

#[test]
fn inputs_of_bytes_are_marked() {
    let (_folder, path) = place();
    std::fs::write(&path, foreign::<u8>(&[2, 1, 3], npyz::Order::C, &[0, 1, 2, 3, 4, 255])).unwrap();
    let expected = npy::Inputs { count: 1, values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 255.0], are_bytes: true };
    assert_eq!(npy::read_inputs(&path, Shape::map(2, 1, 3)).unwrap(), expected);
}

#[test]
fn folders_and_devices_are_no_arrays() {
    for path in ["/dev/zero", "."].map(Path::new).into_iter().filter(|path| path.exists()) {
        assert!(matches!(npy::read(path), Err(NpyError::Io { .. })), "{}", path.display());
    }
}

fn values(shape: &[u64]) -> Vec<f32> {
    (0..shape.iter().product()).map(|n| n as f32 * 0.1 - 1.0).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_here_and_elsewhere(shape in proptest::collection::vec(0u64..6, 0..5)) {
        let (_folder, path) = place();
        let values = values(&shape);
        npy::write(&path, &shape, &values).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let other = npyz::NpyFile::new(&bytes[..]).unwrap();
        prop_assert_eq!(other.shape(), &shape[..]);
        prop_assert_eq!(other.into_vec::<f32>().unwrap(), values.clone());
        prop_assert_eq!((bytes.len() - values.len() * 4) % 64, 0);
        prop_assert_eq!(npy::read(&path).unwrap(), Array { shape, values });
    }

    /// Damage is noticed or harmless: no panic, and never more or fewer elements than the shape
    /// says.
    #[test]
    fn damaged_headers_do_no_harm(
        shape in proptest::collection::vec(1u64..4, 0..4),
        changes in proptest::collection::vec((0usize..128, any::<u8>()), 1..4),
        cut in 0usize..400,
    ) {
        let mut bytes = foreign::<f32>(&shape, npyz::Order::C, &values(&shape));
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(1));
        if let Ok(array) = read(&bytes) {
            prop_assert_eq!(array.shape.iter().product::<u64>(), array.values.len() as u64);
        }
    }
}
