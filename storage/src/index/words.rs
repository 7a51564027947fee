//! The word dictionary of a segment: a Tantivy index with one document a block of rows, packed into one byte
//! string, and read from there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    DirectoryLock, FileHandle, Lock, OwnedBytes, RamDirectory, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::schema::{IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{Directory, DocSet, Index, SegmentReader, TERMINATED, TantivyDocument};

/// Memory that Tantivy's writer may take; a segment's words stay far below.
const WRITER_BYTES: usize = 32 << 20;
/// The only field.
const FIELD: &str = "word";

fn schema() -> (Schema, tantivy::schema::Field) {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("whitespace")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let field = schema.add_text_field(FIELD, TextOptions::default().set_indexing_options(indexing));
    (schema.build(), field)
}

/// Builds the dictionary: `blocks` are the distinct words of each block, with spaces between them.
pub(crate) fn build(blocks: &[String]) -> tantivy::Result<Vec<u8>> {
    let (schema, field) = schema();
    let directory = RamDirectory::create();
    let mut writer = Index::builder().schema(schema).single_segment_index_writer(directory.clone(), WRITER_BYTES)?;
    for words in blocks {
        let mut document = TantivyDocument::default();
        document.add_text(field, words);
        writer.add_document(document)?;
    }
    let index = writer.finalize()?;
    let mut files: Vec<PathBuf> = index.directory().list_managed_files().into_iter().collect();
    files.push(PathBuf::from("meta.json"));
    files.sort();
    files.dedup();
    let mut packed = Vec::new();
    files.retain(|file| directory.exists(file).unwrap_or(false));
    packed.extend_from_slice(&(files.len() as u32).to_le_bytes());
    for file in &files {
        let bytes = directory.open_read(file)?.read_bytes()?;
        let name = file.to_string_lossy();
        packed.extend_from_slice(&(name.len() as u32).to_le_bytes());
        packed.extend_from_slice(name.as_bytes());
        packed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        packed.extend_from_slice(&bytes);
    }
    Ok(packed)
}

/// The dictionary of a segment, in memory: all words in one string for fragments to be looked for in, and Tantivy's
/// posting lists behind it.
pub(crate) struct Words {
    reader: SegmentReader,
    /// All words in order, each after a space; a space at the end.
    text: Vec<u8>,
    /// Where each word begins in `text`.
    starts: Vec<u32>,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").field("words", &self.starts.len()).finish_non_exhaustive()
    }
}

impl Words {
    /// Opens what [`build`] packed.
    pub(crate) fn open(packed: Vec<u8>) -> tantivy::Result<Self> {
        let index = Index::open(PackedDirectory::new(&OwnedBytes::new(packed))?)?;
        let segments = index.searchable_segments()?;
        let segment = segments
            .first()
            .ok_or_else(|| tantivy::TantivyError::InternalError("no segment in the word index".into()))?;
        let reader = SegmentReader::open(segment)?;
        let (mut text, mut starts) = (vec![b' '], Vec::new());
        {
            let inverted = reader.inverted_index(schema().1)?;
            let mut terms = inverted.terms().stream()?;
            while terms.advance() {
                starts.push(text.len() as u32);
                text.extend_from_slice(terms.key());
                text.push(b' ');
            }
        }
        Ok(Self { reader, text, starts })
    }

    /// Calls `take` with each block that has `word`.
    pub(crate) fn blocks_with(&self, word: &[u8], take: impl FnMut(u32)) -> tantivy::Result<()> {
        let inverted = self.reader.inverted_index(schema().1)?;
        match inverted.terms().get(word)? {
            Some(info) => {
                Self::postings(&inverted, &info, take)?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Calls `take` with each block that has a word with the fragment in it; a block may come more than once.
    pub(crate) fn blocks_with_fragment(
        &self,
        fragment: &super::tokens::Fragment,
        mut take: impl FnMut(u32),
    ) -> tantivy::Result<()> {
        let mut needle = Vec::with_capacity(fragment.bytes.len() + 2);
        if fragment.at_start {
            needle.push(b' ');
        }
        needle.extend_from_slice(&fragment.bytes);
        if fragment.at_end {
            needle.push(b' ');
        }
        let inverted = self.reader.inverted_index(schema().1)?;
        let mut last = None;
        for at in memchr::memmem::find_iter(&self.text, &needle) {
            let inside = at + usize::from(fragment.at_start);
            let ordinal = self.starts.partition_point(|&s| s as usize <= inside).saturating_sub(1);
            if last == Some(ordinal) {
                continue;
            }
            last = Some(ordinal);
            if let Some(info) = inverted.terms().get(self.word(ordinal))? {
                Self::postings(&inverted, &info, &mut take)?;
            }
        }
        Ok(())
    }

    fn word(&self, ordinal: usize) -> &[u8] {
        let start = self.starts.get(ordinal).map_or(0, |&s| s as usize);
        let end = self.starts.get(ordinal + 1).map_or(self.text.len(), |&s| s as usize) - 1;
        self.text.get(start..end).unwrap_or_default()
    }

    fn postings(
        inverted: &tantivy::InvertedIndexReader,
        info: &tantivy::postings::TermInfo,
        mut take: impl FnMut(u32),
    ) -> io::Result<()> {
        let mut postings = inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut doc = postings.doc();
        while doc != TERMINATED {
            take(doc);
            doc = postings.advance();
        }
        Ok(())
    }

    /// About how much memory it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.text.len() + self.starts.len() * 4
    }
}

/// A read-only Tantivy directory over packed bytes.
#[derive(Clone)]
struct PackedDirectory {
    files: Arc<BTreeMap<PathBuf, OwnedBytes>>,
}

impl std::fmt::Debug for PackedDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.files.keys()).finish()
    }
}

impl PackedDirectory {
    fn new(packed: &OwnedBytes) -> io::Result<Self> {
        let mut at = 0;
        let mut take = |bytes: usize| -> io::Result<OwnedBytes> {
            if bytes > packed.len().saturating_sub(at) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += bytes;
            Ok(packed.slice(at - bytes..at))
        };
        let number = |bytes: &OwnedBytes| -> io::Result<usize> {
            let four = <[u8; 4]>::try_from(bytes.as_slice()).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            Ok(u32::from_le_bytes(four) as usize)
        };
        let mut files = BTreeMap::new();
        for _ in 0..number(&take(4)?)? {
            let name_bytes = number(&take(4)?)?;
            let name = String::from_utf8_lossy(&take(name_bytes)?).into_owned();
            let file_bytes = number(&take(4)?)?;
            files.insert(PathBuf::from(name), take(file_bytes)?);
        }
        Ok(Self { files: Arc::new(files) })
    }
}

impl Directory for PackedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        match self.files.get(path) {
            Some(bytes) => Ok(Arc::new(bytes.clone())),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(io::ErrorKind::Unsupported.into()), filepath: path.to_owned() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::IoError {
            io_error: Arc::new(io::ErrorKind::Unsupported.into()),
            filepath: path.to_owned(),
        })
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        match self.files.get(path) {
            Some(bytes) => Ok(bytes.as_slice().to_vec()),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, _lock: &Lock) -> Result<DirectoryLock, LockError> {
        // Nobody writes here.
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
