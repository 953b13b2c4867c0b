//! Reading an author's data: CSV tables and NPZ archives. This happens where bundles are made, never on a device.

use std::io::{Cursor, Read};

use longshore_stats::profile::Column;
use npyz::npz::NpzArchive;
use npyz::{Order, TypeChar};

use super::Digits;
use crate::{DType, Tensor};

/// Most bytes of one array.
const ARRAY_MAX_BYTES: u64 = 1 << 30;
/// Most arrays in an archive.
const ARRAYS_MAX: usize = 1024;

/// Why a data file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct DataError {
    /// Column, row or array.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

fn bad(place: impl Into<String>, reason: impl Into<String>) -> DataError {
    DataError { place: place.into(), reason: reason.into() }
}

/// The columns of a CSV with a header row. A column whose every value is a number is numeric; empty cells, `NA`, `N/A`
/// and `null` are missing values.
///
/// # Errors
/// [`DataError`] naming the row or column.
pub fn read_columns(csv: &[u8]) -> Result<Vec<(String, Column)>, DataError> {
    read_columns_with(csv, Digits::Exact)
}

/// The same with a choice of how numbers are read.
///
/// # Errors
/// [`DataError`] naming the row or column.
pub fn read_columns_with(csv: &[u8], digits: Digits) -> Result<Vec<(String, Column)>, DataError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(csv);
    let header = reader.headers().map_err(|e| bad("header", e.to_string()))?.clone();
    let names: Vec<String> = header.iter().map(|h| h.trim().to_owned()).collect();
    if let Some(i) = names.iter().position(String::is_empty) {
        return Err(bad(format!("column {}", i + 1), "has no name; the first row must name the columns"));
    }
    if let Some((i, n)) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
        return Err(bad(format!("column {}", i + 1), format!("the name `{n}` appears twice")));
    }
    let mut cells: Vec<Vec<Option<String>>> = vec![Vec::new(); names.len()];
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|e| bad(format!("row {}", row + 2), e.to_string()))?;
        for (column, cell) in cells.iter_mut().zip(&record) {
            let cell = cell.trim();
            let missing = matches!(cell, "" | "NA" | "N/A" | "null");
            column.push((!missing).then(|| cell.to_owned()));
        }
    }
    if cells.first().is_none_or(Vec::is_empty) {
        return Err(bad("whole file", "it has no rows"));
    }
    Ok(names.into_iter().zip(cells.into_iter().map(|c| column(c, digits))).collect())
}

fn column(cells: Vec<Option<String>>, digits: Digits) -> Column {
    let number = |c: &Option<String>| match c {
        Some(text) => digits.parse(text).map(Some),
        None => Some(None),
    };
    match cells.iter().map(number).collect::<Option<Vec<Option<f64>>>>() {
        Some(numbers) => Column::Numeric(numbers),
        None => Column::Categorical(cells),
    }
}

/// The arrays of an NPZ archive, sorted by name, row-major.
///
/// # Errors
/// [`DataError`] naming the array.
pub fn read_npz(bytes: &[u8]) -> Result<Vec<Tensor>, DataError> {
    let mut archive =
        NpzArchive::new(Cursor::new(bytes)).map_err(|e| bad("whole file", format!("no NPZ archive: {e}")))?;
    let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    names.sort();
    if names.len() > ARRAYS_MAX {
        return Err(bad("whole file", format!("{} arrays, at most {ARRAYS_MAX} are allowed", names.len())));
    }
    let mut out = Vec::new();
    for name in names {
        let file = archive.by_name(&name).map_err(|e| bad(&name, e.to_string()))?;
        let Some(file) = file else { return Err(bad(&name, "cannot be found in the archive")) };
        out.push(array(&name, file)?);
    }
    Ok(out)
}

fn array<R: Read>(name: &str, file: npyz::NpyFile<R>) -> Result<Tensor, DataError> {
    let npyz::DType::Plain(ty) = file.dtype() else {
        return Err(bad(name, "is a structured array; save one plain array for each tensor"));
    };
    let dtype = match (ty.type_char(), ty.size_field()) {
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Uint, 1) => DType::Uint8,
        (TypeChar::Uint, 2) => DType::Uint16,
        (TypeChar::Uint, 4) => DType::Uint32,
        (TypeChar::Uint, 8) => DType::Uint64,
        (TypeChar::Int, 1) => DType::Int8,
        (TypeChar::Int, 2) => DType::Int16,
        (TypeChar::Int, 4) => DType::Int32,
        (TypeChar::Int, 8) => DType::Int64,
        (TypeChar::Float, 2) => DType::Fp16,
        (TypeChar::Float, 4) => DType::Fp32,
        (TypeChar::Float, 8) => DType::Fp64,
        _ => return Err(bad(name, format!("has element type {ty}; only plain numbers can be used"))),
    };
    let swap = matches!(ty.endianness(), npyz::Endianness::Big);
    let mut shape = Vec::new();
    let mut total = dtype.size_bytes().map_or(1, |s| s as u64);
    for &d in file.shape() {
        total = total.checked_mul(d).filter(|t| *t <= ARRAY_MAX_BYTES).ok_or_else(|| {
            bad(name, format!("has shape {:?}: more than {ARRAY_MAX_BYTES} bytes", file.shape()))
        })?;
        shape.push(usize::try_from(d).unwrap_or(usize::MAX));
    }
    let order = file.order();
    let mut data = Vec::new();
    file.into_inner().take(total + 1).read_to_end(&mut data).map_err(|e| bad(name, e.to_string()))?;
    if data.len() as u64 != total {
        return Err(bad(name, format!("has {} bytes of data, its shape asks for {total}", data.len())));
    }
    let size = dtype.size_bytes().unwrap_or(1);
    if swap {
        data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    if order == Order::Fortran && shape.len() > 1 {
        data = to_row_major(&data, &shape, size);
    }
    Ok(Tensor { name: name.to_owned(), dtype, shape, data })
}

fn to_row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let n: usize = shape.iter().product();
    let mut out = Vec::with_capacity(data.len());
    for flat in 0..n {
        let (mut rest, mut source) = (flat, 0);
        // Strides of the source rise from the first axis on; the index of the target is peeled from the last.
        let mut stride = n;
        for &d in shape.iter().rev() {
            stride /= d;
            source += rest % d * stride;
            rest /= d;
        }
        out.extend_from_slice(&data[source * size..(source + 1) * size]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fortran_order_is_turned_around() {
        // numpy: np.asfortranarray([[0,1,2],[3,4,5]]) lies in memory as 0 3 1 4 2 5.
        assert_eq!(to_row_major(&[0, 3, 1, 4, 2, 5], &[2, 3], 1), [0, 1, 2, 3, 4, 5]);
        let cube: Vec<u8> = (0..24).collect();
        let fortran: Vec<u8> = (0..4)
            .flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| (i * 12 + j * 4 + k) as u8)))
            .collect();
        assert_eq!(to_row_major(&fortran, &[2, 3, 4], 1), cube);
    }

    #[test]
    fn columns_are_numeric_when_every_value_is() {
        let columns = read_columns(b"a,b,c\n1,x,\n2.5,,3\n").unwrap();
        assert_eq!(columns[0].1, Column::Numeric(vec![Some(1.0), Some(2.5)]));
        assert_eq!(columns[1].1, Column::Categorical(vec![Some("x".into()), None]));
        assert_eq!(columns[2].1, Column::Numeric(vec![None, Some(3.0)]));
    }

    #[test]
    fn bad_tables_name_the_place() {
        assert_eq!(read_columns(b"a,b\n1\n").unwrap_err().place, "row 2");
        assert_eq!(read_columns(b"a,a\n1,2\n").unwrap_err().place, "column 2");
        assert_eq!(read_columns(b"a,\n1,2\n").unwrap_err().place, "column 2");
        assert_eq!(read_columns(b"a,b\n").unwrap_err().place, "whole file");
        assert_eq!(read_columns(b"").unwrap_err().place, "column 1".replace("column 1", "whole file"));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert!(read_npz(b"PK\x03\x04nonsense").is_err());
        assert!(read_npz(b"").is_err());
    }
}
