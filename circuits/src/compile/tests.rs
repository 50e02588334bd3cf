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
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("x.npy", SimpleFileOptions::default()).unwrap();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    zip.write_all(&[b"\x93NUMPY\x02\x00", &length[..], header.as_bytes(), &[0; 256]].concat()).unwrap();
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
    let read = |elements: &str, most: usize| super::npz::read(&archive_of(&header(elements)), most);
    for elements in ["|u1", "<f4"] {
        assert_eq!(read(elements, 512).unwrap()[0].data, [0.0; 64]);
        assert!(read(elements, 511).unwrap_err().contains("room for 63 numbers"), "{elements}");
    }
    assert!(read("<f4", 200).unwrap_err().contains("more than 200 bytes"));
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
