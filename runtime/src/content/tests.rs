use std::io::Write;

use super::*;

/// The beginning and the name of a file that has exactly these marks.
fn made_of(marks: &[Mark]) -> (Vec<u8>, String) {
    let (mut bytes, mut name) = (Vec::new(), "file".to_owned());
    let mut put = |place: usize, content: &[u8]| {
        bytes.resize(bytes.len().max(place + content.len()), 0xee);
        bytes[place..place + content.len()].copy_from_slice(content);
    };
    for mark in marks {
        match *mark {
            Mark::At(place, content) => put(place, content),
            Mark::Within(place, _, high) => put(place, &[high]),
            Mark::Text(beginning) => put(0, beginning.as_bytes()),
            Mark::Name(ending) => name.push_str(&ending.replace('*', "00000-of-00001")),
        }
    }
    bytes.resize(bytes.len().max(300), b' ');
    (bytes, name)
}

/// No kind is hidden behind one that is tried before it, in any of its forms.
#[test]
fn every_kind_of_the_table_is_recognised_by_its_marks() {
    for kind in KINDS {
        for marks in kind.marks {
            let (bytes, name) = made_of(marks);
            let found = of_content(&bytes, &name).map(|kind| kind.name);
            assert_eq!(found, Some(kind.name), "{marks:?}");
        }
    }
}

/// Each kind is refused wherever it is not read, in one line, with a way out.
#[test]
fn every_kind_has_a_way_out_wherever_it_is_not_read() {
    let fixed = [SAFETENSORS, ARCHIVE, FOLDER];
    let listed = KINDS.iter().chain(ARCHIVES.iter().chain(FOLDERS).map(|(_, kind)| kind)).chain(&fixed);
    for kind in listed {
        let mut read = 0;
        for wanted in [Wanted::Weights, Wanted::Image, Wanted::Array] {
            let Some(sentence) = kind.instead_of(wanted) else {
                read += 1;
                continue;
            };
            let (what, way_out) = sentence.split_once(": ").unwrap_or_else(|| panic!("{sentence}"));
            assert!(what.starts_with(kind.name) && way_out.len() > 10, "{sentence}");
            assert!(!sentence.contains('\n') && !sentence.contains("  "), "{sentence}");
        }
        let expected = usize::from(matches!(kind.role, Role::Weights | Role::Image | Role::Array));
        assert_eq!(read, expected, "{}", kind.name);
    }
}

fn name_of(bytes: &[u8], name: &str) -> Option<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    recognise(&path).map(|kind| kind.name)
}

/// Beginnings of files as their writers make them.
#[test]
fn files_are_recognised_by_content_whatever_their_name() {
    let spec = include_bytes!("../../../specs/xception.xc");
    let map = include_bytes!("../../../specs/maps/timm_xception.yaml");
    for (bytes, kind) in [
        (&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."[..], "a PyTorch file"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}", "a Python pickle"),
        (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0", "an ONNX model"),
        (b"\x08\x0a:\x10", "an ONNX model"),
        (b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model"),
        (b"\0\0\x1e\x08\x01\x1a\x02\x08\x01", "the index of a TensorFlow checkpoint"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "a Git LFS pointer"),
        (b"\n  <!DOCTYPE html>\n<html>", "a web page"),
        (b"\xef\xbb\xbf<HTML><title>x", "a web page"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "an XML document"),
        (b"{\"class_name\": \"Functional\"}", "a JSON text"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP image"),
        (b"GIF89a\x01\0\x01\0", "a GIF image"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0", "a BMP image"),
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\">", "an SVG image"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (b"\x40\0\0\0\0\0\0\0{\"a\":", "a safetensors file"),
        (spec, "a spec"),
        (map, "a name map"),
    ] {
        assert_eq!(name_of(bytes, "file.h5"), Some(kind));
    }
    assert_eq!(
        name_of(&[0, 1, 2, 3], "model.ckpt.data-00000-of-00001"),
        Some("data of a TensorFlow checkpoint")
    );
    assert_eq!(name_of(b"no mark at all", "file.h5"), None);
    assert_eq!(name_of(b"", "file.h5"), None);
}

#[test]
fn archives_and_folders_are_recognised_by_what_is_in_them() {
    for (member, kind) in [
        ("archive/data.pkl", "a PyTorch file"),
        ("arr_0.npy", "an archive of NumPy arrays (.npz)"),
        ("model.weights.h5", "a Keras archive"),
        ("m/saved_model.pb", "a zipped TensorFlow SavedModel"),
        ("readme.txt", "a zip archive"),
    ] {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        archive.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(b"x").unwrap();
        let bytes = archive.finish().unwrap().into_inner();
        assert_eq!(name_of(&bytes, "file"), Some(kind));
        // Cut off, the list of members is gone; damage of a Keras archive is told by its reader.
        let cut = name_of(&bytes[..60], "file");
        assert_eq!(cut, (kind != "a zip archive").then_some(kind));
    }
    for (entry, kind) in [
        ("saved_model.pb", "a folder with a TensorFlow SavedModel"),
        ("model.ckpt.index", "a folder with a TensorFlow checkpoint"),
        ("x.safetensors", "a folder with safetensors"),
        ("notes.txt", "a folder"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(entry), "x").unwrap();
        assert_eq!(recognise(folder.path()).map(|kind| kind.name), Some(kind));
    }
}
