//! Records, and reading what was appended.

use super::*;

#[test]
fn a_record_is_read_as_it_was_written_and_no_part_of_it_is_one() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..20_000 {
        let record = random::any(&mut rng);
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        let mut bytes = bytes::Bytes(&encoded);
        assert_eq!(Record::decode(&mut bytes).as_ref(), Ok(&record));
        assert!(bytes.0.is_empty());
        let part = rng.usize(..encoded.len());
        assert!(Record::decode(&mut bytes::Bytes(&encoded[..part])).is_err(), "{record:?}");
    }
}

#[test]
fn any_bytes_are_a_record_or_an_error() {
    let mut rng = Rng::with_seed(2);
    let mut decoded = 0;
    for _ in 0..100_000 {
        let mut encoded = Vec::new();
        random::any(&mut rng).encode(&mut encoded);
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..encoded.len());
            encoded[at] = rng.u8(..);
        }
        if let Ok(record) = Record::decode(&mut bytes::Bytes(&encoded)) {
            decoded += 1;
            let mut again = Vec::new();
            record.encode(&mut again);
            assert_eq!(Record::decode(&mut bytes::Bytes(&again)), Ok(record));
        }
    }
    assert!(decoded > 1000, "{decoded} of the changed records were records still");
}

/// Also what no program of the past wrote, but its format allows.
#[test]
fn a_record_of_any_format_is_the_same_when_it_is_written_again() {
    let mut rng = Rng::with_seed(4);
    let mut decoded = [0; 32];
    for kind in 0..32_u8 {
        for _ in 0..20_000 {
            // Numbers of one byte and two fit everywhere, and passkeys are of letters.
            let letters = if rng.bool() { rng.usize(..60) } else { 0 };
            let mut encoded: Vec<u8> = (0..300)
                .map(|at| if at < letters { rng.lowercase() as u8 } else { rng.u8(..0x80) })
                .collect();
            encoded[0] = kind;
            if rng.bool() {
                let at = rng.usize(1..encoded.len());
                encoded[at] |= 0x80;
            }
            let Ok(record) = Record::decode(&mut bytes::Bytes(&encoded)) else { continue };
            decoded[usize::from(kind)] += 1;
            let mut again = Vec::new();
            record.encode(&mut again);
            assert_eq!(Record::decode(&mut bytes::Bytes(&again)), Ok(record));
        }
    }
    for kind in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 18, 19, 20, 21] {
        assert!(decoded[kind] > 0, "none of kind {kind}: {decoded:?}");
    }
}

#[test]
fn a_usual_fact_is_small() {
    let mut rng = Rng::with_seed(3);
    let mut encoded = Vec::new();
    for _ in 0..1000 {
        Record::from(random::usual_fact(&mut rng, Seconds(1_800_000_000))).encode(&mut encoded);
    }
    assert!(encoded.len() <= 120 * 1000, "{} bytes for 1000 facts", encoded.len());
}

#[test]
fn what_was_appended_is_read_whatever_came_between() {
    for seed in 0..30 {
        let mut story = Story::new(seed, SMALL);
        let mut follower = Reader::follow(story.journal().status(), 0).unwrap();
        let mut followed = Vec::new();
        for _ in 0..200 {
            match story.rng.u8(..10) {
                0..6 => story.append(60),
                6 | 7 => story.sync(),
                8 => {
                    story.sync();
                    follower.read_into(usize::MAX, &mut followed).unwrap();
                    assert_eq!(followed.len(), story.records.len());
                    story.open();
                    let from = followed.len() as u64;
                    follower = Reader::follow(story.journal().status(), from).unwrap();
                }
                _ => {
                    let most = story.rng.usize(..300);
                    follower.read_into(most, &mut followed).unwrap();
                    assert!(followed.len() as u64 <= story.journal().durable());
                }
            }
        }
        story.sync();
        follower.read_into(usize::MAX, &mut followed).unwrap();
        assert!(followed == story.records, "seed {seed}");
        assert_eq!(follower.read().unwrap(), None);
        story.check();
        assert!(files(&story.dir()).len() > 10);
        for _ in 0..20 {
            let from = story.rng.usize(..=story.records.len());
            assert!(read_all(&story.dir(), from as u64) == story.records[from..], "from {from}");
        }
    }
}

#[test]
fn a_follower_on_another_thread_gets_everything_once() {
    let mut story = Story::new(1, Options { segment_bytes: 40_000, ..SMALL });
    let status = story.journal().status().clone();
    let (done, all) = mpsc::channel::<usize>();
    let follower = thread::spawn(move || {
        let mut reader = Reader::follow(&status, 0).unwrap();
        let (mut records, mut total) = (Vec::new(), None);
        while total != Some(records.len()) {
            let before = records.len();
            assert_eq!(reader.read_into(100, &mut records).unwrap(), before as u64);
            if records.len() == before {
                status.wait(reader.position(), Duration::from_millis(5));
            }
            total = total.or(all.try_recv().ok());
        }
        records
    });
    for _ in 0..2000 {
        story.append(20);
        if story.rng.u8(..8) == 0 {
            story.sync();
        }
    }
    story.sync();
    done.send(story.records.len()).unwrap();
    assert!(follower.join().unwrap() == story.records);
}

#[test]
fn a_large_batch_goes_into_several_frames_and_a_too_large_one_nowhere() {
    let mut story = Story::new(1, SMALL);
    story.append(10);
    let records = random::several(&mut story.rng, 5000);
    story.journal().append(&records).unwrap();
    story.records.extend(records);
    story.check();

    let removed = |length| Change::TorrentRemoved {
        id: shard::private::TorrentId(1),
        info_hash: shard::InfoHash([1; 20]),
        reason: "x".repeat(length),
        at: Seconds(1),
    };
    let large = random::said(removed(1_000_000));
    story.journal().append(std::slice::from_ref(&large)).unwrap();
    story.records.push(large.clone());
    let error = story.journal().append(&[large, random::said(removed(1 << 20))]).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error:?}");
    assert!(story.journal().status().accepting() && !error.is_full());
    story.append(10);
    story.check();
}

#[test]
fn positions_that_are_not_there_are_errors() {
    let mut story = Story::new(5, SMALL);
    while files(&story.dir()).len() < 5 {
        story.append(20);
    }
    let (dir, end) = (story.dir(), story.records.len() as u64);
    assert!(matches!(
        Reader::open(&dir, end + 1),
        Err(JournalError::Ahead { from, end: e }) if (from, e) == (end + 1, end)
    ));
    assert_eq!(Reader::open(&dir, end).unwrap().read().unwrap(), None);
    let status = story.journal().status().clone();
    let durable = status.durable();
    assert!(durable < end);
    assert!(matches!(Reader::follow(&status, durable + 1), Err(JournalError::Ahead { .. })));

    let kept = Name::list(&dir).unwrap()[2].0;
    let freed = story.journal().delete_before(kept + 1).unwrap();
    assert!(freed > 4096);
    assert_eq!((story.journal().begin(), status.begin()), (kept, kept));
    assert!(
        matches!(Reader::open(&dir, 0), Err(JournalError::Gone { from: 0, begin }) if begin == kept)
    );
    assert!(matches!(Reader::follow(&status, 0), Err(JournalError::Gone { from: 0, .. })));
    story.check();
    story.journal().delete_before(u64::MAX).unwrap();
    assert_eq!(files(&dir).len(), 1, "the last segment stays");
    story.check();
    story.open();
    story.append(20);
    story.check();
}

#[test]
fn a_journal_begins_where_it_is_told_to() {
    let mut story = Story::new(6, SMALL);
    story.append(10);
    let end = story.records.len() as u64;
    let id = story.journal().id();
    story.options.begin_at = end;
    story.open();
    assert_eq!(story.journal().end(), end);

    story.options.begin_at = end + 5;
    story.open();
    assert_eq!((story.journal().end(), story.journal().durable()), (end + 5, end + 5));
    assert_eq!((story.journal().begin(), story.journal().id()), (0, id));
    let records = random::several(&mut story.rng, 3);
    assert_eq!(story.journal().append(&records).unwrap(), end + 5);
    story.open();
    assert_eq!(story.journal().end(), end + 8);
    assert!(read_all(&story.dir(), end + 5) == records);
    let mut reader = Reader::open(story.dir(), 0).unwrap();
    let error = reader.read_into(usize::MAX, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, JournalError::Missing { .. }), "{error:?}");
    assert_eq!(reader.position(), end);

    let fresh = Story::new(6, Options { begin_at: 1000, ..SMALL });
    assert_eq!(fresh.journal.as_ref().unwrap().begin(), 1000);
    assert_eq!(files(&fresh.dir()), [Name(1000).path(&fresh.dir())]);
}

#[test]
fn the_parts_of_a_folder_are_found() {
    let mut story = Story::new(13, SMALL);
    while files(&story.dir()).len() < 3 {
        story.append(20);
    }
    story.sync();
    let all = files(&story.dir());
    let found = segments(story.scratch.path()).unwrap();
    assert!(found.iter().map(|file| &file.path).eq(&all));
    assert_eq!(segments(&story.dir()).unwrap(), found);
    assert_eq!(segments(&all[1]).unwrap(), [one(&all[1])]);
    assert!(segments(&story.dir().join("missing")).is_err());

    let (mut next, mut records) = (0, Vec::new());
    for (file, path) in found.iter().zip(&all) {
        let survey = survey(file, |_, record| records.push(record.clone())).unwrap();
        assert_eq!((survey.first, survey.id), (next, story.journal().id()));
        assert_eq!((survey.bytes, survey.torn), (fs::metadata(path).unwrap().len(), None));
        assert!(survey.frames > 0 && survey.begun_at > Seconds(1_700_000_000));
        next = survey.end;
    }
    assert!(records == story.records);

    let (last, _) = story.last();
    let file = OpenOptions::new().append(true).open(&last).unwrap();
    std::io::Write::write_all(&mut &file, &[1; HEAD_BYTES + 3]).unwrap();
    let survey = survey(&one(&last), |_, _| {}).unwrap();
    assert_eq!((survey.end, survey.torn.unwrap().bytes), (next, HEAD_BYTES as u64 + 3));
}
