//! Writes and syncs that fail, and a bound that is reached.

use super::*;

#[test]
fn at_the_bound_nothing_is_written_until_there_is_room() {
    let mut story = Story::new(9, Options { bytes_max: 600_000, ..Options::default() });
    let error = loop {
        if let Err(error) = story.try_append(50) {
            break error;
        }
    };
    assert!(matches!(error, JournalError::Full { .. }) && error.is_full(), "{error:?}");
    let status = story.journal().status().clone();
    assert!(!status.accepting() && status.last_error().unwrap().contains("600000"));
    assert_eq!((status.refused_batches(), status.end()), (1, story.records.len() as u64));
    assert!(story.journal().bytes() <= 600_000);
    assert!(files(&story.dir()).len() >= 4, "whole segments can be deleted");
    story.sync();
    story.check();
    assert!(story.journal().probe().is_err());

    let half = story.records.len() as u64 * 2 / 3;
    story.journal().delete_before(half).unwrap();
    story.journal().probe().unwrap();
    assert!(status.accepting());
    story.check();
    story.append(50);
    story.open();
    story.check();
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let mut story = Story::new(10, SMALL);
    story.append(20);
    let before = fs::metadata(story.last().0).unwrap().len();
    faults::fail(&[Step::Write]);
    let error = story.try_append(3).unwrap_err();
    assert!(matches!(error, JournalError::Write { .. }) && !error.is_full(), "{error:?}");
    assert_eq!(fs::metadata(story.last().0).unwrap().len(), before);
    assert!(!story.journal().status().accepting());
    faults::fail(&[]);
    story.append(3);
    assert!(story.journal().status().accepting());
    story.check();
    story.open();
    story.check();
}

#[test]
fn a_half_written_batch_that_cannot_be_cut_off_is_given_up_with_its_segment() {
    let mut story = Story::new(11, Options { segment_bytes: 1 << 20, ..SMALL });
    story.append(20);
    story.sync();
    story.append(20);
    faults::fail(&[Step::Write, Step::Cut, Step::Create]);
    // Large enough for several frames, of which the first are written, and refused all the same.
    let refused = random::several(&mut story.rng, 3000);
    story.journal().append(&refused).unwrap_err();
    story.try_append(10).unwrap_err();
    let (crashed, dir) = copy(&story.dir());
    let journal = open(&crashed, story.options);
    assert!(matches!(journal, Err(JournalError::Write { .. })), "cutting fails: {journal:?}");
    let (durable, end) = (story.journal().durable(), story.records.len() as u64);
    assert!(durable < end);
    story.journal().sync().unwrap_err();
    story.journal().probe().unwrap_err();
    let status = story.journal().status().clone();
    let mut follower = Reader::follow(&status, 0).unwrap();
    let mut followed = Vec::new();
    follower.read_into(usize::MAX, &mut followed).unwrap();
    assert_eq!(followed.len() as u64, durable);

    faults::fail(&[]);
    let journal = open(&crashed, story.options).unwrap();
    assert_eq!(journal.end(), end);
    assert!(read_all(&dir, 0) == story.records);
    for _ in 0..10 {
        story.append(10);
    }
    story.sync();
    follower.read_into(usize::MAX, &mut followed).unwrap();
    assert!(followed == story.records);
    let mut surveyed = Vec::new();
    for file in segments(&story.dir()).unwrap() {
        survey(&file, |_, record| surveyed.push(record.clone())).unwrap();
    }
    assert!(surveyed == story.records);
    // The old segment has more than belongs to it, and a segment ends where the next begins.
    assert!(read_all(&story.dir(), 0) == story.records);
    story.open();
    assert!(read_all(&story.dir(), 0) == story.records);
}

#[test]
fn what_a_failed_sync_did_not_make_durable_is_written_again() {
    // With and without anything durable in the segment, whose name is used again then.
    for durable_before in [true, false] {
        let mut story = Story::new(12, Options { segment_bytes: 1 << 20, ..SMALL });
        let status = story.journal().status().clone();
        let mut follower = Reader::follow(&status, 0).unwrap();
        let mut followed = Vec::new();
        if durable_before {
            story.append(20);
            story.sync();
            follower.read_into(usize::MAX, &mut followed).unwrap();
        }
        story.append(20);
        let durable = story.journal().durable();
        faults::fail(&[Step::Sync, Step::Create]);
        story.journal().sync().unwrap_err();
        assert_eq!(story.journal().durable(), durable);
        assert!(!status.accepting());
        story.try_append(5).unwrap_err();
        // Syncs still fail, but a new segment is durable from the start.
        faults::fail(&[Step::Sync]);
        story.sync();
        assert_eq!(files(&story.dir()).len(), 1 + usize::from(durable_before));
        follower.read_into(usize::MAX, &mut followed).unwrap();
        assert!(followed == story.records);
        faults::fail(&[]);
        story.append(5);
        story.sync();
        assert!(status.accepting());
        follower.read_into(usize::MAX, &mut followed).unwrap();
        assert!(followed == story.records);
        story.check();
        story.open();
        story.check();
    }
}

#[test]
fn whatever_fails_nothing_that_was_taken_is_lost() {
    for seed in 0..100 {
        faults::fail(&[]);
        let mut story = Story::new(seed, SMALL);
        let status = story.journal().status().clone();
        let mut follower = Reader::follow(&status, 0).unwrap();
        let (mut followed, mut failed) = (Vec::new(), 0);
        for _ in 0..200 {
            match story.rng.u8(..10) {
                0..5 => failed += u32::from(story.try_append(30).is_err()),
                5 | 6 => failed += u32::from(story.journal().sync().is_err()),
                7 => failed += u32::from(story.journal().probe().is_err()),
                8 => {
                    follower.read_into(usize::MAX, &mut followed).unwrap();
                    assert_eq!(followed.len() as u64, status.durable());
                    assert!(followed == story.records[..followed.len()], "seed {seed}");
                }
                _ => {
                    let steps = [Step::Create, Step::Write, Step::Sync, Step::Cut];
                    let rng = &mut story.rng;
                    let failing: Vec<_> = steps.into_iter().filter(|_| rng.u8(..3) == 0).collect();
                    faults::fail(&failing);
                }
            }
        }
        assert!(failed > 0);
        faults::fail(&[]);
        if seed % 2 == 0 {
            story.sync();
        }
        // As after a kill: everything durable is there, and nothing that was not taken.
        let durable = story.journal().durable();
        story.open();
        let end = story.journal().end();
        assert!((durable..=story.records.len() as u64).contains(&end), "seed {seed}");
        assert!(read_all(&story.dir(), 0) == story.records[..end as usize], "seed {seed}");
    }
}
