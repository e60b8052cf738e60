//! The damage that a power cut, a flipped bit or an older program leaves behind.

use super::*;

#[test]
fn a_tail_that_is_cut_off_anywhere_leaves_the_whole_frames_before() {
    let mut story = Story::new(7, Options { segment_bytes: 1 << 20, ..SMALL });
    story.append(5);
    story.sync();
    let (mut ends, (path, _)) = (Vec::new(), story.last());
    for _ in 0..8 {
        ends.push((fs::metadata(&path).unwrap().len(), story.records.len()));
        story.append(3);
    }
    let bytes = fs::read(&path).unwrap();
    let (scratch, dir) = copy(&story.dir());
    let path = files(&dir).pop().unwrap();
    for cut in ends[0].0..=bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let mut journal = open(&scratch, story.options).unwrap();
        let end = match ends.iter().rfind(|(offset, _)| *offset <= cut) {
            _ if cut == bytes.len() as u64 => story.records.len(),
            Some(&(_, end)) => end,
            None => unreachable!("it begins with the first"),
        };
        assert_eq!((journal.end(), journal.durable()), (end as u64, end as u64), "cut at {cut}");
        assert!(read_all(&dir, 0) == story.records[..end], "cut at {cut}");
        // What comes then is in a segment of its own, made durable at once, which takes its time.
        if cut % 16 != 0 {
            continue;
        }
        let more = random::several(&mut story.rng, 2);
        journal.append(&more).unwrap();
        let read = read_all(&dir, 0);
        assert!(read[..end] == story.records[..end] && read[end..] == more, "cut at {cut}");
        for begun in files(&dir).into_iter().skip(1) {
            fs::remove_file(begun).unwrap();
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut story = Story::new(8, Options { segment_bytes: 1 << 20, ..SMALL });
    let mut durable = 0;
    for _ in 0..4 {
        durable = story.last().1;
        story.append(3);
        story.sync();
    }
    let end = story.records.len() as u64;
    let bytes = fs::read(story.last().0).unwrap();
    let (scratch, dir) = copy(&story.dir());
    let path = files(&dir).pop().unwrap();
    let mut lost = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        let surveyed = survey(&one(&path), |sequence, record| {
            assert!(*record == story.records[sequence as usize], "bit {bit}");
        });
        match surveyed {
            Err(JournalError::Damaged { .. } | JournalError::Format { .. }) => {}
            Ok(Survey { torn: Some(_), .. }) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
        match open(&scratch, story.options) {
            // The last frame: nothing says that it was durable.
            Ok(journal) => {
                lost += 1;
                assert!(journal.end() < end && bit as u64 / 8 >= durable, "bit {bit}");
            }
            Err(error) => {
                assert!(fs::read(&path).unwrap() == flipped, "bit {bit}: {error}");
                assert!(bit as u64 / 8 < durable, "bit {bit}: {error}");
            }
        }
    }
    assert!(lost > 0);
}

#[test]
fn a_power_cut_costs_nothing_that_was_durable() {
    for seed in 0..300 {
        let mut story = Story::new(seed, Options { segment_bytes: 30_000, ..SMALL });
        for _ in 0..story.rng.usize(1..30) {
            story.append(40);
            if story.rng.u8(..3) == 0 {
                story.sync();
            }
        }
        let durable = story.journal().durable();
        let (path, synced) = story.last();
        let (scratch, dir) = copy(&story.dir());
        let path = dir.join(path.file_name().unwrap());
        // Of the bytes behind the last sync, any sectors may be there or not, and any length.
        let mut bytes = fs::read(&path).unwrap();
        let length = story.rng.usize(synced as usize..=bytes.len());
        bytes.truncate(length);
        for sector in bytes[synced as usize..].chunks_mut(512) {
            match story.rng.u8(..8) {
                0 => sector.fill(0),
                1 => story.rng.fill(sector),
                _ => {}
            }
        }
        fs::write(&path, &bytes).unwrap();
        let journal = open(&scratch, story.options).unwrap();
        assert!(journal.end() >= durable, "seed {seed}: {} of {durable}", journal.end());
        assert!(read_all(&dir, 0) == story.records[..journal.end() as usize], "seed {seed}");
    }
}

#[test]
fn damage_in_a_segment_before_the_last_is_found_by_a_reader() {
    let mut story = Story::new(3, SMALL);
    while files(&story.dir()).len() < 4 {
        story.append(10);
    }
    story.sync();
    let dir = story.dir();
    let names = Name::list(&dir).unwrap();
    let path = names[1].path(&dir);
    let middle = fs::metadata(&path).unwrap().len() / 2;
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 8], middle).unwrap();
    drop(file);

    // The journal goes on, as this is perhaps not needed any more; who reads it is told.
    story.open();
    let mut reader = Reader::open(&dir, 0).unwrap();
    let mut records = Vec::new();
    let error = reader.read_into(usize::MAX, &mut records).unwrap_err();
    assert!(records == story.records[..records.len()]);
    assert!((names[1].0..names[2].0).contains(&(records.len() as u64)));
    let JournalError::Damaged { path: found, sequence, damage } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((found, *sequence), (&path, records.len() as u64));
    assert!(damage.offset() <= middle && damage.offset() >= HEADER_BYTES as u64);
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("truncate"), "{text}");
    assert!(reader.read().is_err(), "it does not go over it");

    // A reader from behind it has everything.
    assert!(read_all(&dir, names[2].0) == story.records[names[2].0 as usize..]);
    let status = story.journal().status().clone();
    let mut follower = Reader::follow(&status, 0).unwrap();
    let followed = follower.read_into(usize::MAX, &mut Vec::new());
    assert!(matches!(followed, Err(JournalError::Damaged { .. })), "{followed:?}");

    // A missing segment is not passed over either.
    fs::remove_file(&path).unwrap();
    let mut reader = Reader::open(&dir, 0).unwrap();
    let error = reader.read_into(usize::MAX, &mut Vec::new()).unwrap_err();
    let (from, to) = (names[1].0, names[2].0);
    assert!(
        matches!(error, JournalError::Missing { from: f, to: t, .. } if (f, t) == (from, to)),
        "{error:?}"
    );
}

#[test]
fn foreign_and_unknown_segments_are_refused() {
    let mut story = Story::new(3, SMALL);
    story.append(3);
    story.sync();
    let mut other = Story::new(4, SMALL);
    while files(&other.dir()).len() < 2 {
        other.append(3);
    }
    assert_ne!(story.journal().id(), other.journal().id());
    let foreign = files(&other.dir()).pop().unwrap();
    let path = story.dir().join(foreign.file_name().unwrap());
    fs::copy(&foreign, &path).unwrap();
    story.journal = None;
    let error = open(&story.scratch, SMALL).unwrap_err();
    let Damage::Journal { .. } = damage(&error) else { panic!("{error:?}") };
    fs::remove_file(&path).unwrap();

    let first = files(&story.dir()).pop().unwrap();
    let renamed = Name(1).path(&story.dir());
    fs::rename(&first, &renamed).unwrap();
    let error = open(&story.scratch, SMALL).unwrap_err();
    assert_eq!(damage(&error), Damage::Name { found: 0, expected: 1 });
    fs::rename(&renamed, &first).unwrap();

    let mut bytes = fs::read(&first).unwrap();
    bytes[8] = 9;
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&first, bytes).unwrap();
    let error = open(&story.scratch, SMALL).unwrap_err();
    assert!(matches!(error, JournalError::Format { found: 9, .. }), "{error:?}");
    assert!(error.to_string().contains(env!("CARGO_PKG_VERSION")), "{error}");
}

fn damage(error: &JournalError) -> Damage {
    match error {
        JournalError::Damaged { damage, .. } => damage.clone(),
        error => panic!("{error:?}"),
    }
}

/// The same journal with a header of an older format, as an older program left it.
fn as_format(path: &Path, format: u32) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let (head, frames) = bytes.split_first_chunk_mut::<HEADER_BYTES>().unwrap();
    Header::parse(head).unwrap().seal(frames, HEADER_BYTES as u64, HEADER_BYTES as u64);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_journal_of_an_older_format_is_read_and_goes_on_in_a_new_segment() {
    let mut story = Story::new(31, Options::default());
    story.append(50);
    story.sync();
    story.journal = None;
    let first = files(&story.dir())[0].clone();
    as_format(&first, FORMAT_OLDEST);
    story.open();
    story.check();
    story.append(50);
    story.check();
    let formats: Vec<u32> = files(&story.dir())
        .iter()
        .map(|file| survey(&one(file), |_, _| {}).unwrap().format)
        .collect();
    assert_eq!(formats, [FORMAT_OLDEST, FORMAT]);
    story.journal = None;
    as_format(&first, FORMAT + 1);
    let data = DataDir::open(story.scratch.path()).unwrap();
    let error = Journal::open(&data, Options::default()).unwrap_err();
    assert!(matches!(error, JournalError::Format { .. }), "{error:?}");
}

/// Segments of format 1 are read, and what comes after them is in one that earlier programs tell from
/// damage.
#[test]
fn a_journal_of_the_format_before_goes_on_in_a_new_segment() {
    let old: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/journal/few");
    assert_eq!(old[8..12], 1_u32.to_le_bytes());
    let scratch = Scratch::new();
    let data = DataDir::open(scratch.path()).unwrap();
    let dir = scratch.path().join(FOLDER);
    fs::create_dir(&dir).unwrap();
    fs::write(Name(0).path(&dir), old).unwrap();
    let before = read_all(&dir, 0);
    assert!(!before.is_empty());

    let mut journal = Journal::open(&data, SMALL).unwrap();
    assert_eq!(journal.end(), before.len() as u64);
    let id = shard::private::GroupId(7);
    let group = Change::Group { id, name: "Elite".to_owned(), downloads_max: Some(3) };
    let records = [random::said(group), random::said(Change::GroupRemoved { id })];
    journal.append(&records).unwrap();
    journal.append(&records).unwrap();
    journal.sync().unwrap();
    assert_eq!(fs::read(Name(0).path(&dir)).unwrap(), old, "it is left as it is");
    let after = read_all(&dir, before.len() as u64);
    assert_eq!(after, [records.clone(), records].concat());
    assert_eq!(files(&dir).len(), 2);
}
