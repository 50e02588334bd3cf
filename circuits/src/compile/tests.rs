//! The shipped digit network, and files of samples.

use std::{
    fs,
    io::{Cursor, Write},
    path::PathBuf,
};

use npyz::WriterBuilder;
use serde::Deserialize;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{samples::Array, *};
use crate::quantise::{Method, Precision};

#[derive(Deserialize)]
struct Scan {
    label: usize,
    pixels: Vec<f64>,
}

fn file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/digits");
    fs::read(folder.join(name)).unwrap()
}

fn scans(name: &str) -> Vec<Scan> {
    serde_json::from_slice(&file(name)).unwrap()
}

fn calibration() -> Samples {
    Samples::new(scans("calibration.json").into_iter().map(|scan| scan.pixels).collect())
}

fn first_largest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

#[test]
fn the_shipped_digit_network_names_the_floats_class_on_held_out_scans_at_every_precision() {
    let held_out = scans("heldout.json");
    for precision in [Precision::Auto, Precision::Bits8, Precision::Bits16] {
        for method in [Method::default(), Method::Max, Method::MeanSquare] {
            let quantise = quantise::Options { precision, method, minimum_agreement: 0.99 };
            let options = Options { quantise, ..Options::default() };
            let Compiled { model, report, network } = compile(&file("digits.onnx"), &calibration(), &options).unwrap();
            assert!(report.cosine > 0.999, "{report}");
            let (mut same, mut right) = (0, 0);
            for scan in &held_out {
                let float = network.evaluate(std::slice::from_ref(&scan.pixels)).unwrap().remove(0);
                let input = model.quantise_inputs(std::slice::from_ref(&scan.pixels)).unwrap();
                let output = model.dequantise_outputs(&model.run(&input).unwrap()).remove(0);
                same += usize::from(first_largest(&float) == first_largest(&output));
                right += usize::from(first_largest(&output) == scan.label);
            }
            assert!(same * 100 >= held_out.len() * 99, "{precision} {method}: {same} of {}\n{report}", held_out.len());
            assert!(right * 100 >= held_out.len() * 97, "{precision} {method}: {right} of {}", held_out.len());
        }
    }
}

#[test]
fn a_salt_changes_the_id_and_nothing_else() {
    let compiled = |salt| {
        let options = Options { salt, ..Options::default() };
        compile(&file("digits.onnx"), &calibration(), &options).unwrap().model
    };
    let (open, hidden) = (compiled([0; 32]), compiled([7; 32]));
    assert_ne!(open.id(), hidden.id());
    assert_eq!(open.graph(), hidden.graph());
    assert_eq!(open.id(), compiled([0; 32]).id());
}

fn network() -> Network {
    onnx::read(&file("digits.onnx"), &onnx::Options::default()).unwrap()
}

fn npz(arrays: &[(&str, &[u64], Vec<f32>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, shape, data) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        let mut npy = Vec::new();
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut npy).begin_nd().unwrap();
        writer.extend(data.iter().copied()).unwrap();
        writer.finish().unwrap();
        zip.write_all(&npy).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn samples_are_the_same_from_rows_from_one_list_and_from_an_archive() {
    let network = network();
    let pixels: Vec<f64> = (0..128).map(|at| f64::from(at % 17)).collect();
    let rows = Samples::new(pixels.chunks(64).map(<[f64]>::to_vec).collect()).of(&network).unwrap();
    assert_eq!(rows.len(), 2);
    let json = serde_json::json!({ "input_data": [pixels] }).to_string();
    assert_eq!(Samples::read(json.as_bytes()).unwrap().of(&network).unwrap(), rows);
    let data: Vec<f32> = pixels.iter().map(|&pixel| pixel as f32).collect();
    let archive = npz(&[("arr_0", &[2, 64], data)]);
    assert_eq!(Samples::read(&archive).unwrap().of(&network).unwrap(), rows);
}

#[test]
fn a_batch_that_samples_do_not_fill_is_filled_from_the_first() {
    let options = onnx::Options { batch: 3, ..onnx::Options::default() };
    let Ok(network) = onnx::read(&file("digits.onnx"), &options) else { return };
    if network.values[network.inputs[0]].shape[0] != 3 {
        return;
    }
    let pixels: Vec<f64> = (0..4 * 64).map(f64::from).collect();
    let found = Samples::new(vec![pixels.clone()]).of(&network).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1][0][..64], pixels[3 * 64..]);
    assert_eq!(found[1][0][64..], pixels[..128]);
}

#[test]
fn files_that_are_not_samples_are_refused_without_panic() {
    let network = network();
    for text in ["", "{}", "[1]", "{\"input_data\": [1]}", "{\"input_data\": [[\"a\"]]}", "{\"input_data\": [[NaN]]}"] {
        let error = Samples::read(text.as_bytes()).unwrap_err();
        assert!(matches!(error, SamplesError::Malformed { .. }), "{text}: {error}");
    }
    for lists in [vec![], vec![vec![1.0; 63]], vec![vec![1.0; 64], vec![1.0; 65]]] {
        let error = Samples::new(lists).of(&network).unwrap_err();
        assert!(matches!(error, SamplesError::Mismatch { .. }), "{error}");
    }
    let archive = npz(&[("x", &[1, 64], vec![1.0; 64])]);
    for at in 0..archive.len() {
        let _ = Samples::read(&archive[..at]);
        let mut bent = archive.clone();
        bent[at] ^= 0x55;
        let _ = Samples::read(&bent);
    }
    assert!(Samples::read(&archive).unwrap().one(&[vec![1, 64]]).is_ok());
    assert!(Samples::read(&archive).unwrap().one(&[vec![63]]).is_err());
    assert!(Samples::new(vec![vec![f64::INFINITY]]).one(&[vec![1]]).is_err());
}

#[test]
fn an_array_has_its_samples_on_the_first_axis_and_the_inputs_axes_after_it() {
    let network = network();
    let read = |shape: &[u64]| {
        let count = shape.iter().product::<u64>() as usize;
        Samples::read(&npz(&[("x", shape, vec![1.0; count])])).unwrap()
    };
    for (shape, samples) in [(&[64][..], 1), (&[1, 64], 1), (&[5, 64], 5), (&[5, 1, 64], 5)] {
        assert_eq!(read(shape).of(&network).unwrap().len(), samples, "{shape:?}");
    }
    for shape in [&[64, 5][..], &[64, 1], &[5, 8, 8], &[8, 8], &[128], &[2, 32], &[5, 64, 1]] {
        let error = read(shape).of(&network).unwrap_err().to_string();
        assert!(error.contains("expected (samples, 64)"), "{shape:?}: {error}");
        assert!(read(shape).one(&[vec![1, 64]]).is_err(), "{shape:?}");
    }
    // Channels first and last are as many numbers.
    let image = Array { name: String::new(), shape: Some(vec![10, 4, 4, 2]), data: vec![0.0; 320] };
    assert!(image.fits("x", &[1, 2, 4, 4]).is_err());
    assert!(Array { shape: Some(vec![10, 2, 4, 4]), ..image.clone() }.fits("x", &[1, 2, 4, 4]).is_ok());
    assert!(Array { shape: Some(vec![10, 32]), ..image.clone() }.fits("x", &[1, 2, 4, 4]).is_ok(), "flat rows");
    assert!(Array { shape: Some(vec![]), ..image }.fits("x", &[]).is_ok(), "one number");
}

#[test]
fn what_python_writes_for_no_number_is_named() {
    let error = Samples::read(b"{\"input_data\": [[1.0, NaN]]}").unwrap_err().to_string();
    assert!(error.contains("NaN is no number of JSON"), "{error}");
}

/// An archive of one array with a header as given, and 256 zero bytes.
fn archive_of(header: &str) -> Vec<u8> {
    archive_with(header, 256)
}

/// An archive of one array with a header as given, and so many zero bytes.
fn archive_with(header: &str, bytes: usize) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("x.npy", SimpleFileOptions::default()).unwrap();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    zip.write_all(&[b"\x93NUMPY\x02\x00", &length[..], header.as_bytes(), &vec![0; bytes]].concat()).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn an_archives_header_that_its_reader_would_not_survive_is_refused_before() {
    let plain =
        |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    assert!(Samples::read(&archive_of(&plain("'<f4'", "(64,)"))).unwrap().one(&[vec![1, 64]]).is_ok());
    let huge = u64::MAX / 2;
    for shape in
        [format!("({huge}, 64)"), format!("(0, {huge}, {huge})"), format!("({huge}, {huge}, 0)"), "(65536, )".into()]
    {
        let error = Samples::read(&archive_of(&plain("'<f4'", &shape))).unwrap_err().to_string();
        assert!(error.contains("there are fewer numbers"), "{shape}: {error}");
    }
    for shape in ["(-1,)", "(0x7fffffffffffffff, 4)", "(99999999999999999999,)", "('64',)"] {
        let error = Samples::read(&archive_of(&plain("'<f4'", shape))).unwrap_err().to_string();
        assert!(error.contains("expected whole numbers"), "{shape}: {error}");
    }
    // The reader's time doubles with each of these.
    let nested = format!("{}'<f4'{}", "[('a',".repeat(5000), ")]".repeat(5000));
    for header in
        [plain(&nested, "(64,)"), plain("'<f4'", "((64,),)"), plain("'<f4'", "[64]"), plain("{'a': 1}", "(64,)")]
    {
        let error = Samples::read(&archive_of(&header)).unwrap_err().to_string();
        assert!(error.contains("plain numbers"), "{error}");
    }
    assert!(Samples::read(&archive_of("{}")).unwrap_err().to_string().contains("without a shape"));
}

#[test]
fn an_archive_is_bounded_by_what_its_numbers_take_not_by_what_it_packs_them_in() {
    let header = |elements: &str| format!("{{'descr': '{elements}', 'fortran_order': False, 'shape': (64,), }}\n");
    let read =
        |elements: &str, bytes: usize, most: usize| super::npz::read(&archive_with(&header(elements), bytes), most);
    for (elements, bytes) in [("|u1", 64), ("<f4", 256)] {
        assert_eq!(read(elements, bytes, 512).unwrap()[0].data, [0.0; 64]);
        assert!(read(elements, bytes, 511).unwrap_err().contains("room for 63 numbers"), "{elements}");
        assert!(read(elements, bytes + 1, 1024).unwrap_err().contains("bytes of numbers; expected 64"), "{elements}");
    }
    assert!(read("<f4", 256, 200).unwrap_err().contains("more than 200 bytes"));
    // What one array took is lacking for the next.
    let two = npz(&[("a", &[64], vec![1.0; 64]), ("b", &[64], vec![1.0; 64])]);
    assert!(super::npz::read(&two, 1024).is_ok());
    assert!(super::npz::read(&two, 1023).unwrap_err().contains("'b.npy': shape"));
}

#[test]
fn outputs_are_read_as_they_are_written() {
    let outputs = vec![vec![0.1, -2.5e-7, 3.0], vec![]];
    assert_eq!(read_outputs(write_outputs(&outputs).as_bytes()).unwrap(), outputs);
    assert!(read_outputs(b"{\"output\": []}").is_err());
}

#[test]
fn named_arrays_are_never_taken_for_one_another() {
    let pair = |names: [&str; 2]| {
        Samples::read(&npz(&[(names[0], &[1, 2], vec![1.0; 2]), (names[1], &[1, 2], vec![2.0; 2])])).unwrap()
    };
    let shapes = [vec![1, 2], vec![1, 2]];
    for names in [["b", "a"], ["arr_0", "arr_2"], ["arr_0", "b"]] {
        let error = pair(names).one(&shapes).unwrap_err().to_string();
        assert!(error.contains("numpy.savez"), "{names:?}: {error}");
    }
    let ordered = vec![vec![1.0; 2], vec![2.0; 2]];
    assert_eq!(pair(["arr_0", "arr_1"]).one(&shapes).unwrap(), ordered);
    assert_eq!(pair(["arr_1", "arr_0"]).one(&shapes).unwrap(), [vec![2.0; 2], vec![1.0; 2]]);
    assert_eq!(Samples::new(ordered.clone()).one(&shapes).unwrap(), ordered);
}

#[test]
fn what_is_there_twice_or_of_another_type_is_refused() {
    let one = || vec![1.0; 64];
    let two = npz(&[("x", &[1, 64], one()), ("y", &[1, 64], one())]);
    let renamed = |from: &[u8], to: &[u8]| {
        let mut bytes = two.clone();
        let found: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert_eq!(found.len(), 2, "in the file's own header and in the archive's list");
        found.iter().for_each(|&at| bytes[at..at + to.len()].copy_from_slice(to));
        Samples::read(&bytes).unwrap_err().to_string()
    };
    assert!(renamed(b"y.npy", b"x.npy").contains("twice"), "{}", renamed(b"y.npy", b"x.npy"));
    let half = "{'descr': '<f2', 'fortran_order': False, 'shape': (128,), }\n";
    let error = Samples::read(&archive_of(half)).unwrap_err().to_string();
    assert!(error.contains("'<f2'; expected floats of 32 or 64 bits"), "{error}");
    let axes = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}64,), }}\n", "1, ".repeat(70));
    assert!(Samples::read(&archive_of(&axes)).unwrap_err().to_string().contains("more than 64 axes"));
    let odd = npz(&[("a\nerror: b\u{202e}", &[1, 64], one()), ("c", &[1, 64], one())]);
    let error = Samples::read(&odd).unwrap().one(&[vec![64], vec![64]]).unwrap_err().to_string();
    assert!(error.contains(r"'a\nerror: b\u{202e}', 'c'"), "{error}");
}

#[test]
fn lists_of_json_are_counted_before_they_fill_the_memory() {
    let rows = |count: usize| format!("[{}[]]", "[],".repeat(count - 1));
    assert!(Samples::read(rows(quantise::MAX_SAMPLES).as_bytes()).is_ok());
    for text in [rows(quantise::MAX_SAMPLES + 1), format!("{{\"input_data\": {}}}", rows(quantise::MAX_SAMPLES + 1))] {
        assert!(Samples::read(text.as_bytes()).unwrap_err().to_string().contains("more than 65536 lists"));
    }
    let scans = Samples::read(br#" [{"label": 3, "pixels": [1, 2]}, [3, 4]]"#).unwrap();
    assert_eq!(scans, Samples::new(vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
    for (text, why) in [
        (r#"[[1, 2], ["a", 2]]"#, "string \"a\", expected f64 at line 1"),
        (r#"[{"label": 3}]"#, "missing field `pixels`"),
        (r#"[{"pixels": [1], "pixels": [2]}]"#, "duplicate field `pixels`"),
        (r#"{"output_data": [[1]]}"#, "missing field `input_data`"),
    ] {
        let error = Samples::read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(
        read_outputs(b"{\"output_data\": [[NaN]]}").unwrap_err().to_string().starts_with("outputs: NaN is no number")
    );
}

/// A network of one input of these axes, as it is read from a file.
fn taking(shape: &[usize], kind: crate::network::Kind, range: Option<(i64, u64)>) -> Network {
    use crate::network::{Function, Node, Op, Value};
    let value = |name: &str| Value { name: name.into(), shape: shape.to_vec(), kind, range };
    let op = Op::Unary(Function::LeakyRelu { slope: 0.0 });
    let node = Node { name: "y".into(), source: "Relu".into(), op, inputs: vec![0], output: 1 };
    let (inputs, outputs) = (vec![0], vec![1]);
    Network { inputs, outputs, values: vec![value("x"), value("y")], constants: Default::default(), nodes: vec![node] }
}

#[test]
fn rows_and_arrays_of_an_input_with_one_axis_are_whole_samples() {
    let network = taking(&[4], crate::network::Kind::Real, None);
    let of = |lists: &[usize]| Samples::new(lists.iter().map(|&length| vec![1.0; length]).collect()).of(&network);
    assert_eq!(of(&[4, 8]).unwrap().len(), 3);
    assert!(of(&[3, 5]).unwrap_err().to_string().contains("row 0 of 3 values"));
    assert!(of(&[1; 4]).is_err());
    for (shape, fits) in [(&[4u64][..], true), (&[2, 4], true), (&[1, 1, 4], false), (&[4, 1], false), (&[8, 1], false)]
    {
        let count = shape.iter().product::<u64>() as usize;
        let array = Samples::read(&npz(&[("x", shape, vec![1.0; count])])).unwrap();
        assert_eq!(array.of(&network).is_ok(), fits, "{shape:?}");
    }
    let one = taking(&[1], crate::network::Kind::Real, None);
    let array = Samples::read(&npz(&[("x", &[5], vec![1.0; 5])])).unwrap();
    assert_eq!(array.of(&one).unwrap().len(), 5);
}

#[test]
fn samples_that_an_inputs_type_does_not_hold_or_no_scale_fits_are_laid_to_the_samples() {
    use crate::network::Kind;
    let error = |network: &Network, data: &[f64]| {
        let samples = vec![vec![data.to_vec()]];
        match quantise::quantise(network, &samples, &quantise::Options::default()) {
            Err(QuantiseError::Calibration { reason }) => reason,
            other => panic!("{data:?}: {other:?}"),
        }
    };
    let byte = taking(&[2], Kind::Integer, Some((0, 255)));
    for (data, why) in [([-5.0, 1.0], "-5e0; expected 0 to 255"), ([3.0, 300.0], "3e2; expected 0 to 255")] {
        assert!(error(&byte, &data).contains(why), "{}", error(&byte, &data));
    }
    assert!(error(&byte, &[0.5, 1.0]).contains("expected whole numbers"));
    assert!(error(&taking(&[2], Kind::Truth, None), &[2.0, 0.0]).contains("expected 0 to 1"));
    let real = taking(&[2], Kind::Real, None);
    for data in [[1e300, 1.0], [1e-40, -1e-39]] {
        assert!(error(&real, &data).contains("expected 1e-30 to 1e30"), "{}", error(&real, &data));
    }
    let samples = vec![vec![vec![1.0, 1e-40]]];
    assert!(quantise::quantise(&real, &samples, &quantise::Options::default()).is_ok(), "noise beside a number");
}

#[test]
fn the_work_of_all_samples_is_bounded_and_told() {
    use crate::network::Kind;
    let mut deep = taking(&[1], Kind::Real, None);
    let node = deep.nodes[0].clone();
    deep.nodes = (0..30_000).map(|_| node.clone()).collect();
    let samples = vec![vec![vec![1.0]]; 1 << 16];
    let error = quantise::quantise(&deep, &samples, &quantise::Options::default()).unwrap_err().to_string();
    assert!(error.contains("65536 samples of 30750000 steps each"), "{error}");
    let told = std::cell::RefCell::new(Vec::new());
    let small = taking(&[1], Kind::Real, None);
    let hears = |done: usize, all: usize| told.borrow_mut().push((done, all));
    quantise::quantise_told(&small, &samples[..2], &quantise::Options::default(), &hears).unwrap();
    assert_eq!(*told.borrow(), [(0, 4), (1, 4), (2, 4), (3, 4)]);
}
