//! A journal file: whatever its bytes are, the journal opens, tells what it found, and takes the next batch.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use storage::Disk;
use storage::disk::FaultyDisk;
use storage::journal::JournalScan;

fuzz_target!(|bytes: &[u8]| {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::seeded(1));
    let folder = Path::new("/journal");
    disk.create_dir_all(folder).unwrap();
    let file = disk.create(&folder.join("00000001-0000000000000001-f2d40e07.journal")).unwrap();
    file.write_at(0, bytes).unwrap();
    let mut frames = JournalScan::new(Arc::clone(&disk), folder).unwrap().inspect(0);
    let found = frames.by_ref().count();
    assert!(found == 0 || bytes.len() > 16);
});
