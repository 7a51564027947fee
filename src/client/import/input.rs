//! A file that is imported: plain, gzip or zstd, or standard input; line by line, also while it grows and is
//! rotated.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressBarIter};

/// A longer line becomes several records.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

/// One file, open.
pub(crate) struct Input {
    /// As the user named it.
    pub(crate) name: String,
    /// The whole path, which becomes the label `filename`; `stdin` for standard input.
    pub(crate) filename: String,
    /// When the file was changed last, in nanoseconds since 1970; `None` for standard input.
    pub(crate) modified: Option<i64>,
    path: Option<PathBuf>,
    /// Of the open file, to notice that another has taken its name.
    inode: u64,
    /// Bytes of whole lines read since the beginning of the file.
    position: u64,
    reader: Box<dyn Source>,
    /// A line whose end is not there yet.
    unfinished: Vec<u8>,
    can_grow: bool,
}

/// Where bytes come from.
trait Source: BufRead {
    /// True when the next read may wait for somebody to write.
    fn may_wait(&self) -> bool {
        false
    }
}

impl<R: Read> Source for BufReader<R> {}

/// Standard input.
struct Stdin(BufReader<ProgressBarIter<io::Stdin>>);

impl Source for Stdin {
    fn may_wait(&self) -> bool {
        self.0.buffer().is_empty()
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Stdin {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// What [`Input::next_line`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A line, without its end.
    Line(Vec<u8>),
    /// No more for now.
    End,
}

impl Input {
    /// Opens a file, or standard input for `-`. `bar` counts bytes as they lie on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(path: &Path, bar: &ProgressBar) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        if name == "-" {
            let reader = Box::new(Stdin(BufReader::with_capacity(1 << 16, bar.wrap_read(io::stdin()))));
            let filename = "stdin".to_owned();
            return Ok(Self::new(name, filename, None, reader));
        }
        let file = File::open(path).with_context(|| format!("open {name}"))?;
        let about = file.metadata().with_context(|| format!("read {name}"))?;
        anyhow::ensure!(!about.is_dir(), "{name} is a folder: name its files");
        let raw = BufReader::with_capacity(1 << 16, bar.wrap_read(file));
        let packed = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let reader: Box<dyn Source> = match packed {
            "gz" => Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(raw))),
            "zst" | "zstd" => Box::new(BufReader::with_capacity(1 << 16, zstd::Decoder::with_buffer(raw)?)),
            _ => Box::new(raw),
        };
        let filename = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        let mut input = Self::new(name, filename, Some(path.to_owned()), reader);
        let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        input.modified = modified.and_then(|since| i64::try_from(since.as_nanos()).ok());
        input.inode = about.ino();
        input.can_grow = !matches!(packed, "gz" | "zst" | "zstd");
        Ok(input)
    }

    fn new(name: String, filename: String, path: Option<PathBuf>, reader: Box<dyn Source>) -> Self {
        let unfinished = Vec::new();
        Self { name, filename, modified: None, path, inode: 0, position: 0, reader, unfinished, can_grow: false }
    }

    /// The next whole line; at the end of the file what is left, unless the file is `growing`.
    ///
    /// # Errors
    /// When the file cannot be read or unpacked.
    pub(crate) fn next_line(&mut self, growing: bool) -> anyhow::Result<Found> {
        let room = (LINE_BYTES_MAX - self.unfinished.len()) as u64;
        let read = self.reader.by_ref().take(room).read_until(b'\n', &mut self.unfinished);
        let read = read.with_context(|| format!("read {}", self.name))?;
        self.position += read as u64;
        let whole = self.unfinished.last() == Some(&b'\n') || self.unfinished.len() >= LINE_BYTES_MAX;
        if !whole && (growing || self.unfinished.is_empty()) {
            return Ok(Found::End);
        }
        let mut line = std::mem::take(&mut self.unfinished);
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        Ok(Found::Line(line))
    }

    /// Opens the file anew when another has its name now, or when it was cut. True when it did.
    ///
    /// # Errors
    /// When the new file cannot be read.
    pub(crate) fn follow_rotation(&mut self, bar: &ProgressBar) -> anyhow::Result<bool> {
        let Some(path) = self.path.clone().filter(|_| self.can_grow) else { return Ok(false) };
        // Between the renaming of the old file and the making of the new one there is none.
        let Ok(about) = fs::metadata(&path) else { return Ok(false) };
        if about.ino() == self.inode && about.len() >= self.position {
            return Ok(false);
        }
        *self = Self::open(&path, bar)?;
        Ok(true)
    }

    /// True when the next line may be long in coming, so that what is gathered should be sent first.
    pub(crate) fn may_wait(&self) -> bool {
        self.reader.may_wait()
    }

    /// True for a plain file, which may get more lines.
    pub(crate) fn can_grow(&self) -> bool {
        self.can_grow
    }

    /// What the file is about: its name up to the first dot (`syslog` of `/var/log/syslog.2.gz`).
    pub(crate) fn job(&self) -> &str {
        let name = self.filename.rsplit('/').next().unwrap_or_default();
        let job = name.split('.').find(|part| !part.is_empty());
        job.unwrap_or("import")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(input: &mut Input, growing: bool) -> Vec<String> {
        let mut lines = Vec::new();
        while let Found::Line(line) = input.next_line(growing).unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        lines
    }

    fn open(path: &Path) -> Input {
        Input::open(path, &ProgressBar::hidden()).unwrap()
    }

    #[test]
    fn plain_and_packed_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"one\r\ntwo\n\nlast";
        let plain = folder.path().join("a.log");
        fs::write(&plain, text).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        let gzip = folder.path().join("b.log.1.gz");
        fs::write(&gzip, encoder.finish().unwrap()).unwrap();
        let zstd = folder.path().join("c.zst");
        fs::write(&zstd, zstd::bulk::compress(text, 1).unwrap()).unwrap();
        for (path, job) in [(&plain, "a"), (&gzip, "b"), (&zstd, "c")] {
            let mut input = open(path);
            assert_eq!(input.job(), job);
            assert_eq!(lines(&mut input, false), ["one", "two", "", "last"]);
        }
    }

    #[test]
    fn a_growing_file_is_followed_through_its_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "one\ntw").unwrap();
        let mut input = open(&path);
        assert_eq!(lines(&mut input, true), ["one"]);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(lines(&mut input, true), ["two", "three"]);
        assert!(!input.follow_rotation(&ProgressBar::hidden()).unwrap());
        fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        assert!(!input.follow_rotation(&ProgressBar::hidden()).unwrap());
        fs::write(&path, "four\n").unwrap();
        assert!(input.follow_rotation(&ProgressBar::hidden()).unwrap());
        assert_eq!(lines(&mut input, true), ["four"]);
        fs::write(&path, "5\n").unwrap();
        assert!(input.follow_rotation(&ProgressBar::hidden()).unwrap());
        assert_eq!(lines(&mut input, true), ["5"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, vec![b'x'; LINE_BYTES_MAX + 10]).unwrap();
        let lengths: Vec<usize> = lines(&mut open(&path), false).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES_MAX, 10]);
    }
}
