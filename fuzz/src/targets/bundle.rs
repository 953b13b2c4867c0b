//! The files of a bundle, and those of its author.

use longshore_bundle::{Golden, Manifest, Tensor, author, golden, reference};
use longshore_stats::profile::Profile;

const MANIFEST: &str = r#"{"schema":1,"model":"m","version":"1.0.0","created":"2026-01-31T12:00:00Z","files":[
{"path":"model.onnx","role":"model","sha256":"0000000000000000000000000000000000000000000000000000000000000000","length":9},
{"path":"golden.safetensors","role":"golden","sha256":"1111111111111111111111111111111111111111111111111111111111111111","length":9}],
"inputs":[{"name":"x","dtype":"FP32","shape":["N",2]}],"outputs":[{"name":"y","dtype":"FP32","shape":["N",3]}],
"batch":{"axis":0,"max":16},"monitor":{"classes":["a","b","c"],"score_output":"y"}}"#;

fn the_manifest() -> Manifest {
    Manifest::parse(MANIFEST.as_bytes()).expect("it obeys the schema")
}

pub fn manifest_seeds() -> Vec<Vec<u8>> {
    let more = MANIFEST.replace(
        r#""batch":"#,
        r#""preprocess":[{"scale":{"input":"x","by":0.5}}],"requires":{"targets":["x86_64"],"max_rss_mb":64},"batch":"#,
    );
    vec![MANIFEST.as_bytes().to_vec(), the_manifest().to_json(), more.into_bytes()]
}

/// Written and parsed as the same.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let written = manifest.to_json();
    assert_eq!(Manifest::parse(&written).as_ref(), Ok(&manifest));
    assert_eq!(manifest.to_json(), written);
    // What the manifest promises can be worked out.
    let _ = (manifest.api_inputs(), manifest.api_outputs(), manifest.total_bytes(), manifest.classes());
}

fn vectors() -> Golden {
    let x = Tensor::from_f32("input.x", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let y = Tensor::from_f32("output.y", &[2, 3], &[0.1, 0.2, 0.7, 1.0, 0.0, 0.0]);
    golden::from_tensors(vec![x, y], &the_manifest()).expect("they fit the manifest")
}

pub fn safetensors_seeds() -> Vec<Vec<u8>> {
    vec![vectors().to_bytes().expect("they are whole"), b"\x02\0\0\0\0\0\0\0{}".to_vec()]
}

pub fn safetensors(bytes: &[u8]) {
    if let Ok(tensors) = golden::read_safetensors(bytes) {
        whole(&tensors);
    }
    let manifest = the_manifest();
    if let Ok(read) = golden::parse(bytes, &manifest) {
        let written = read.to_bytes().expect("what was read can be written");
        assert_eq!(golden::parse(&written, &manifest).as_ref(), Ok(&read));
    }
}

fn whole(tensors: &[Tensor]) {
    for t in tensors {
        assert_eq!(t.expected_bytes(), Some(t.data.len()), "{}: as long as its shape says", t.name);
    }
}

pub fn npz_seeds() -> Vec<Vec<u8>> {
    let npy = |shape: &str, data: &[u8]| {
        let mut head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
        head.resize(118 - 10 - 1, b' ');
        head.push(b'\n');
        let mut out = b"\x93NUMPY\x01\0".to_vec();
        out.extend((head.len() as u16).to_le_bytes());
        [out, head, data.to_vec()].concat()
    };
    let one = npy("(2, 2)", &[0; 16]);
    let zip = stored_zip("input.x.npy", &one);
    let mut out = vec![[&[0][..], &zip].concat()];
    out.push([&[1][..], b"a,b,label\n1,2.5,x\n-3,,y\n"].concat());
    out
}

/// A ZIP archive of one file that is stored as it is.
fn stored_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let crc = crc32(content).to_le_bytes();
    let (n, c) = ((name.len() as u16).to_le_bytes(), (content.len() as u32).to_le_bytes());
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &crc, &c, &c, &n, &[0, 0]].concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let central = [b"PK\x01\x02\x14\0", &common[..], &[0; 14], name.as_bytes()].concat();
    let (at, size) = ((local.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    let end = [b"PK\x05\x06", &[0, 0, 0, 0, 1, 0, 1, 0][..], &size, &at, &[0, 0]].concat();
    [local, central, end].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}

/// The first byte says which reader.
pub fn npz(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        if let Ok(arrays) = author::read_npz(rest) {
            whole(&arrays);
            let _ = author::golden_of(arrays, &the_manifest());
        }
    } else {
        let _ = author::read_columns(rest);
    }
}

pub fn profile_seeds() -> Vec<Vec<u8>> {
    let csv = b"a,b\n1,x\n2,y\n3,x\n4,\n5,z\n";
    let columns = author::read_columns(csv).expect("a small table");
    vec![Profile::of(&columns).expect("columns have values").to_bytes()]
}

/// Read by itself and against a manifest.
pub fn profile(bytes: &[u8]) {
    if let Ok(profile) = Profile::from_bytes(bytes) {
        let written = profile.to_bytes();
        let again = Profile::from_bytes(&written).expect("what was written is read");
        assert_eq!(again.to_bytes(), written);
        let mut doubled = again;
        if doubled.merge(&profile).is_ok() {
            let _ = doubled.to_bytes();
        }
    }
    let _ = reference::parse(bytes, &the_manifest());
}
