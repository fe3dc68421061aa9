//! The kinds of files that are recognised, in the order in which they are tried.

use super::Mark::{At, Name, Text, Within};
use super::{Kind, Mark, Role};

const TORCH: &str = "save safetensors from Python: \
    `safetensors.torch.save_file(torch.load(FILE, map_location=\"cpu\"), \"weights.safetensors\")`, or the model's \
    state_dict() if FILE holds the whole model; then a name map (see docs/weights.md)";
const KERAS: &str = "it holds no weights; save the model as .keras: `model.save(\"model.keras\")`";
const TENSORFLOW: &str =
    "load it in Python and save the Keras model as .keras or .h5: `model.save(\"model.keras\")`";
const NUMPY: &str = "save safetensors from Python: `safetensors.numpy.save_file(dict(numpy.load(FILE)), \
    \"weights.safetensors\")`";
const ONNX: &str = "save safetensors from Python: `safetensors.numpy.save_file({t.name: onnx.numpy_helper.to_array(t) \
    for t in onnx.load(FILE).graph.initializer}, \"weights.safetensors\")`; then a name map (see docs/weights.md)";
const SOURCE: &str = "its weights are not those that were trained; save the model that it was made from as .keras or \
    safetensors";
const DEQUANTISE: &str = "convert its tensors to safetensors in Python";
const UNPACK: &str = "unpack it first";
const DOWNLOAD: &str = "the download stopped at a page that asks for something; download the file itself";
const LFS: &str = "the file itself was not fetched: run `git lfs pull`";
const TO_PNG: &str =
    "convert it to PNG, in Python: `PIL.Image.open(FILE).convert(\"RGB\").save(\"image.png\")`";
const DRAW: &str = "render it to PNG first";
const FRAME: &str = "save a frame as PNG first";
const NONE: &str = "";

const fn kind(
    name: &'static str,
    role: Role,
    marks: &'static [&'static [Mark]],
    way_out: &'static str,
) -> Kind {
    Kind { name, role, marks, way_out }
}

/// Kinds by content; the first that fits decides. Names decide only where content has no mark.
pub(super) const KINDS: &[Kind] = &[
    // What is read, for those who give it in the wrong place.
    kind("an HDF5 file", Role::Weights, &[&[At(0, b"\x89HDF\r\n\x1a\n")]], NONE),
    kind("a PNG image", Role::Image, &[&[At(0, b"\x89PNG")]], NONE),
    kind("a JPEG image", Role::Image, &[&[At(0, b"\xff\xd8\xff")]], NONE),
    kind("a NumPy array", Role::Array, &[&[At(0, b"\x93NUMPY")]], NONE),
    // Weights of other tools.
    kind(
        "a PyTorch file",
        Role::OtherWeights,
        &[&[At(0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19")], &[At(0, b"\x80\x02"), Name(".pth")]],
        TORCH,
    ),
    kind(
        "a Python pickle",
        Role::OtherWeights,
        &[&[At(0, b"\x80\x02")], &[At(0, b"\x80\x03")], &[At(0, b"\x80\x04")], &[At(0, b"\x80\x05")]],
        "load it in Python and save its arrays as safetensors: `safetensors.numpy.save_file`",
    ),
    kind("a TensorFlow Lite model", Role::OtherWeights, &[&[At(4, b"TFL3")]], SOURCE),
    kind("a GGUF file", Role::OtherWeights, &[&[At(0, b"GGUF")]], DEQUANTISE),
    kind(
        "a GGML file",
        Role::OtherWeights,
        &[&[At(0, b"lmgg")], &[At(0, b"fmgg")], &[At(0, b"tjgg")], &[At(0, b"algg")]],
        DEQUANTISE,
    ),
    kind(
        "a MATLAB file",
        Role::OtherWeights,
        &[&[At(0, b"MATLAB ")]],
        "save safetensors from Python: `scipy.io.loadmat`",
    ),
    kind("MXNet parameters", Role::OtherWeights, &[&[At(0, b"\x12\x01\0\0\0\0\0\0")]], DEQUANTISE),
    kind(
        "the index of a TensorFlow checkpoint",
        Role::OtherWeights,
        // The first entry of the table has an empty key and a header that starts with the number
        // of shards.
        &[&[At(0, b"\0\0"), At(3, b"\x08"), Name(".index")], &[At(0, b"\0\0"), At(3, b"\x08\x01")]],
        TENSORFLOW,
    ),
    kind("data of a TensorFlow checkpoint", Role::OtherWeights, &[&[Name(".data-*")]], TENSORFLOW),
    kind("the graph of a TensorFlow checkpoint", Role::OtherWeights, &[&[Name(".meta")]], TENSORFLOW),
    kind(
        "the list of TensorFlow checkpoints",
        Role::OtherWeights,
        &[&[Text("model_checkpoint_path:")]],
        TENSORFLOW,
    ),
    kind(
        "a TensorFlow SavedModel",
        Role::OtherWeights,
        &[&[At(0, b"\x08\x01\x12"), Name(".pb")]],
        TENSORFLOW,
    ),
    kind("a TensorFlow graph", Role::OtherWeights, &[&[At(0, b"\x0a"), Name(".pb")]], TENSORFLOW),
    // ir_version, then one of the fields that writers put next.
    kind(
        "an ONNX model",
        Role::OtherWeights,
        &[
            &[At(0, b"\x08"), Within(1, 3, 20), At(2, b"\x12")],
            &[At(0, b"\x08"), Within(1, 3, 20), At(2, b"\x3a")],
            &[At(0, b"\x08"), Within(1, 3, 20), At(2, b"\x42")],
            &[At(0, b"\x08"), Name(".onnx")],
        ],
        ONNX,
    ),
    kind("a Core ML model", Role::OtherWeights, &[&[Name(".mlmodel")]], SOURCE),
    kind("Caffe weights", Role::OtherWeights, &[&[Name(".caffemodel")]], DEQUANTISE),
    kind("Flax weights", Role::OtherWeights, &[&[Name(".msgpack")]], DEQUANTISE),
    // Images that are not read.
    kind("a WebP image", Role::OtherImage, &[&[At(0, b"RIFF"), At(8, b"WEBP")]], TO_PNG),
    kind("a GIF image", Role::OtherImage, &[&[At(0, b"GIF87a")], &[At(0, b"GIF89a")]], TO_PNG),
    kind(
        "a TIFF image",
        Role::OtherImage,
        &[&[At(0, b"II*\0")], &[At(0, b"MM\0*")], &[At(0, b"II+\0")], &[At(0, b"MM\0+")]],
        TO_PNG,
    ),
    kind("an AVIF image", Role::OtherImage, &[&[At(4, b"ftypavif")], &[At(4, b"ftypavis")]], TO_PNG),
    kind(
        "a HEIC image",
        Role::OtherImage,
        &[&[At(4, b"ftyphei")], &[At(4, b"ftyphev")], &[At(4, b"ftypmif1")], &[At(4, b"ftypmsf1")]],
        TO_PNG,
    ),
    kind("a JPEG XL image", Role::OtherImage, &[&[At(0, b"\xff\x0a")], &[At(4, b"JXL \r\n\x87\n")]], TO_PNG),
    kind(
        "a JPEG 2000 image",
        Role::OtherImage,
        &[&[At(4, b"jP  \r\n\x87\n")], &[At(0, b"\xff\x4f\xff\x51")]],
        TO_PNG,
    ),
    kind("a Photoshop image", Role::OtherImage, &[&[At(0, b"8BPS")]], TO_PNG),
    kind("an OpenEXR image", Role::OtherImage, &[&[At(0, b"\x76\x2f\x31\x01")]], TO_PNG),
    kind("a QOI image", Role::OtherImage, &[&[At(0, b"qoif")]], TO_PNG),
    kind("a DICOM image", Role::OtherImage, &[&[At(128, b"DICM")]], DRAW),
    kind("an icon", Role::OtherImage, &[&[At(0, b"\0\0\x01\0")]], TO_PNG),
    kind("a BMP image", Role::OtherImage, &[&[At(0, b"BM"), At(6, b"\0\0\0\0")]], TO_PNG),
    kind(
        "a Netpbm image",
        Role::OtherImage,
        &[
            &[At(0, b"P1\n")],
            &[At(0, b"P2\n")],
            &[At(0, b"P3\n")],
            &[At(0, b"P4\n")],
            &[At(0, b"P5\n")],
            &[At(0, b"P6\n")],
            &[At(0, b"P5 ")],
            &[At(0, b"P6 ")],
            &[At(0, b"P7\n")],
        ],
        TO_PNG,
    ),
    kind("an SVG image", Role::OtherImage, &[&[Text("<svg")], &[Text("<?xml"), Name(".svg")]], DRAW),
    kind("a PDF document", Role::OtherImage, &[&[At(0, b"%PDF-")]], DRAW),
    kind("a PostScript document", Role::OtherImage, &[&[At(0, b"%!PS")]], DRAW),
    kind(
        "a video",
        Role::OtherImage,
        &[&[At(4, b"ftyp")], &[At(0, b"\x1aE\xdf\xa3")], &[At(0, b"RIFF"), At(8, b"AVI ")]],
        FRAME,
    ),
    // Packed files.
    kind("a gzip file", Role::Wrapper, &[&[At(0, b"\x1f\x8b")]], UNPACK),
    kind("an xz file", Role::Wrapper, &[&[At(0, b"\xfd7zXZ\0")]], UNPACK),
    kind("a bzip2 file", Role::Wrapper, &[&[At(0, b"BZh")]], UNPACK),
    kind("a Zstandard file", Role::Wrapper, &[&[At(0, b"\x28\xb5\x2f\xfd")]], UNPACK),
    kind("a 7-Zip archive", Role::Wrapper, &[&[At(0, b"7z\xbc\xaf\x27\x1c")]], UNPACK),
    kind("a RAR archive", Role::Wrapper, &[&[At(0, b"Rar!\x1a\x07")]], UNPACK),
    kind("a tar archive", Role::Wrapper, &[&[At(257, b"ustar")]], UNPACK),
    // Text.
    kind("a Git LFS pointer", Role::Wrapper, &[&[Text("version https://git-lfs.github.com/")]], LFS),
    kind(
        "a web page",
        Role::Wrapper,
        &[&[Text("<!doctype html")], &[Text("<html")], &[Text("<head")]],
        DOWNLOAD,
    ),
    kind("an XML document", Role::Wrapper, &[&[Text("<?xml")], &[Text("<error")]], DOWNLOAD),
    kind(
        "an index of several safetensors files",
        Role::OtherWeights,
        &[&[Name(".safetensors.index.json")]],
        "join them in Python: load each with `safetensors.numpy.load_file` and save all with one `save_file`",
    ),
    kind("a JSON text", Role::OtherWeights, &[&[Text("{"), Name(".json")], &[Text("{\"")]], KERAS),
    kind("a spec", Role::Spec, &[&[Text("model ")], &[Name(".xc")]], NONE),
    kind(
        "a name map",
        Role::Map,
        &[&[Text("rules:")], &[Text("notes:")], &[Text("ignore:")], &[Text("prefix:")]],
        NONE,
    ),
];

/// Kinds of zip archives by a member that only they have; `*` stands for any folder.
pub(super) const ARCHIVES: &[(&str, Kind)] = &[
    ("model.weights.h5", kind("a Keras archive", Role::Weights, &[], NONE)),
    ("*/data.pkl", kind("a PyTorch file", Role::OtherWeights, &[], TORCH)),
    ("data.pkl", kind("a PyTorch file", Role::OtherWeights, &[], TORCH)),
    ("*/constants.pkl", kind("a TorchScript file", Role::OtherWeights, &[], TORCH)),
    ("*.npy", kind("an archive of NumPy arrays (.npz)", Role::OtherWeights, &[], NUMPY)),
    ("saved_model.pb", kind("a zipped TensorFlow SavedModel", Role::OtherWeights, &[], TENSORFLOW)),
    ("*/saved_model.pb", kind("a zipped TensorFlow SavedModel", Role::OtherWeights, &[], TENSORFLOW)),
    ("*.h5", kind("a zip archive with an HDF5 file", Role::Wrapper, &[], UNPACK)),
    ("*.safetensors", kind("a zip archive with safetensors", Role::Wrapper, &[], UNPACK)),
];

/// Any other zip archive.
pub(super) const ARCHIVE: Kind = kind("a zip archive", Role::Wrapper, &[], UNPACK);
/// safetensors: eight bytes of length, then JSON.
pub(super) const SAFETENSORS: Kind = kind("a safetensors file", Role::Weights, &[], NONE);

/// Kinds of folders by an entry that only they have; `*` stands for any text.
pub(super) const FOLDERS: &[(&str, Kind)] = &[
    ("saved_model.pb", kind("a folder with a TensorFlow SavedModel", Role::OtherWeights, &[], TENSORFLOW)),
    ("*.index", kind("a folder with a TensorFlow checkpoint", Role::OtherWeights, &[], TENSORFLOW)),
    ("*.safetensors", kind("a folder with safetensors", Role::OtherWeights, &[], "give the file in it")),
    (
        "model.weights.h5",
        kind("an unpacked Keras archive", Role::OtherWeights, &[], "give the file model.weights.h5 in it"),
    ),
    ("*.h5", kind("a folder with an HDF5 file", Role::OtherWeights, &[], "give the file in it")),
    ("*.keras", kind("a folder with a Keras archive", Role::OtherWeights, &[], "give the file in it")),
    ("data.pkl", kind("an unpacked PyTorch file", Role::OtherWeights, &[], TORCH)),
    ("*.mlmodel", kind("a folder with a Core ML model", Role::OtherWeights, &[], SOURCE)),
];

/// Any other folder.
pub(super) const FOLDER: Kind = kind("a folder", Role::Wrapper, &[], "give a file");
