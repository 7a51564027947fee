//! Record batches as bytes: JSON, NDJSON, CSV, Arrow's stream format and Parquet, piece by piece.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::QueryError;

/// Rows of a row group of an answer in Parquet.
const ROW_GROUP_ROWS: usize = 131_072;

/// What an answer is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// Arrow's streaming IPC format.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// The format of a short name, as in `?format=csv`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "csv" => Self::Csv,
            "arrow" => Self::Arrow,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// The first of a list of media types, as `Accept` has it, that is known.
    pub fn from_accept(accept: &str) -> Option<Self> {
        accept.split(',').find_map(|one| match one.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Self::Json),
            "application/x-ndjson" | "application/jsonl" | "application/json-lines" => Some(Self::Ndjson),
            "text/csv" => Some(Self::Csv),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            "application/vnd.apache.parquet" => Some(Self::Parquet),
            _ => None,
        })
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Turns batches of one schema into bytes.
pub struct FormatWriter {
    inner: Inner,
    bytes: Buffer,
}

enum Inner {
    Json(JsonWriter<Buffer, JsonArray>),
    Ndjson(JsonWriter<Buffer, LineDelimited>),
    Csv(Box<arrow::csv::Writer<Buffer>>),
    Arrow(StreamWriter<Buffer>),
    Parquet(Box<ArrowWriter<Buffer>>),
}

/// Where writers put bytes, to be taken out in between.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FormatWriter {
    /// A writer for batches of `schema`.
    ///
    /// # Errors
    /// When the format cannot hold the schema.
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Self, QueryError> {
        let bytes = Buffer::default();
        let out = bytes.clone();
        let inner = match format {
            Format::Json => Inner::Json(WriterBuilder::new().build(out)),
            Format::Ndjson => Inner::Ndjson(WriterBuilder::new().build(out)),
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
                // The header is there even without a row.
                writer.write(&RecordBatch::new_empty(Arc::clone(schema))).map_err(failed)?;
                Inner::Csv(Box::new(writer))
            }
            Format::Arrow => Inner::Arrow(StreamWriter::try_new(out, schema).map_err(failed)?),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties)).map_err(broken)?;
                Inner::Parquet(Box::new(writer))
            }
        };
        Ok(Self { inner, bytes })
    }

    /// The bytes that are ready after another batch; may be none.
    ///
    /// # Errors
    /// When the format cannot hold the batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        match &mut self.inner {
            Inner::Json(writer) => writer.write(batch).map_err(failed)?,
            Inner::Ndjson(writer) => writer.write(batch).map_err(failed)?,
            Inner::Csv(writer) => writer.write(batch).map_err(failed)?,
            Inner::Arrow(writer) => writer.write(batch).map_err(failed)?,
            Inner::Parquet(writer) => writer.write(batch).map_err(broken)?,
        }
        Ok(self.bytes.take())
    }

    /// The last bytes.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(self) -> Result<Vec<u8>, QueryError> {
        match self.inner {
            Inner::Json(mut writer) => writer.finish().map_err(failed)?,
            Inner::Ndjson(mut writer) => writer.finish().map_err(failed)?,
            Inner::Csv(writer) => drop(writer),
            Inner::Arrow(mut writer) => writer.finish().map_err(failed)?,
            Inner::Parquet(writer) => drop(writer.close().map_err(broken)?),
        }
        Ok(self.bytes.take())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: ArrowError) -> QueryError {
    QueryError::BadQuery(format!("the answer cannot be written in this format: {error}"))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: parquet::errors::ParquetError) -> QueryError {
    QueryError::BadQuery(format!("the answer cannot be written as Parquet: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn written(format: Format, batches: usize) -> Vec<u8> {
        let schema =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true), Field::new("n", DataType::Int64, false)]));
        let texts = StringArray::from(vec![Some("x, \"y\""), None]);
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(texts), Arc::new(Int64Array::from(vec![1, 2]))]);
        let batch = batch.unwrap();
        let mut writer = FormatWriter::new(format, &schema).unwrap();
        let mut bytes: Vec<u8> = (0..batches).flat_map(|_| writer.write(&batch).unwrap()).collect();
        bytes.extend(writer.finish().unwrap());
        bytes
    }

    #[test]
    fn texts_are_as_they_should_be() {
        let text = |format, batches| String::from_utf8(written(format, batches)).unwrap();
        assert_eq!(text(Format::Json, 1), r#"[{"a":"x, \"y\"","n":1},{"n":2}]"#);
        assert_eq!(text(Format::Json, 0), "[]");
        assert_eq!(text(Format::Ndjson, 1), "{\"a\":\"x, \\\"y\\\"\",\"n\":1}\n{\"n\":2}\n");
        assert_eq!(text(Format::Csv, 1), "a,n\n\"x, \"\"y\"\"\",1\n,2\n");
        assert_eq!(text(Format::Csv, 0), "a,n\n");
    }

    #[test]
    fn files_can_be_read_back() {
        let rows = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let stream = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(written(Format::Arrow, 3)), None);
        assert_eq!(rows(stream.unwrap().map(Result::unwrap).collect()), 6);
        let file = bytes::Bytes::from(written(Format::Parquet, 3));
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(rows(reader.build().unwrap().map(Result::unwrap).collect()), 6);
    }

    #[test]
    fn formats_are_known_by_name_and_media_type() {
        assert_eq!(Format::from_accept("text/html, text/csv;q=0.9, */*"), Some(Format::Csv));
        assert_eq!(Format::from_accept("*/*"), None);
        for name in ["json", "ndjson", "csv", "arrow", "parquet"] {
            let format = Format::from_name(name).unwrap();
            assert_eq!(Format::from_accept(format.content_type()), Some(format), "{name}");
        }
        assert_eq!(Format::from_name("xml"), None);
    }
}
