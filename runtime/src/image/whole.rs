//! Tells whether a file of an image is whole. Decoders fill in what is missing at the end of a
//! JPEG, and stop before the end of a PNG; both formats have a mark at their end.

use image::ImageFormat;

/// Refuses a PNG or JPEG that ends before its end mark; the error is a reason in words.
pub(super) fn check(bytes: &[u8], format: ImageFormat) -> Result<(), String> {
    let (whole, mark) = match format {
        ImageFormat::Jpeg => (jpeg_has_end(bytes), "end-of-image marker (FF D9)"),
        _ => (png_has_end(bytes), "end chunk (IEND)"),
    };
    match whole {
        true => Ok(()),
        false => Err(format!(
            "it was cut off, after {} bytes: its {mark} is missing; fetch it again, or save it anew in an image \
             editor if it looks whole there",
            bytes.len()
        )),
    }
}

/// Walks a JPEG's segments (ITU-T T.81, B.1.1) to the end of its first image. Data behind it are
/// no part of it.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    // Bytes that belong to no segment are entropy-coded data, in which FF is followed by 00, or
    // padding.
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[at + 1..];
        let length = match rest.first() {
            Some(0xd9) => return true,
            // The length of a segment counts itself, and follows the marker.
            Some(0x02..=0xcf | 0xda..=0xfe) => {
                rest.get(1..3).map(|length| 1 + usize::from(u16::from_be_bytes([length[0], length[1]])))
            }
            // FF again begins a marker anew; 00, 01 and restarts have no segment.
            Some(0xff) => Some(0),
            Some(_) => Some(1),
            None => None,
        };
        rest = length.and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    false
}

/// Walks a PNG's chunks (ISO 15948, 5.3) to its end.
fn png_has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((header, data)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        let behind =
            (u32::from_be_bytes([a, b, c, d]) as usize).checked_add(4).and_then(|end| data.get(end..));
        match behind {
            Some(_) if kind == *b"IEND" => return true,
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    false
}
