//! A process leaves the journal to another, which goes on with it; and back.

use super::*;

fn thread_of(journal: Journal, rests: bool) -> JournalThread {
    let options = ThreadOptions { sync_interval: Duration::from_millis(20), batches_max: 4 };
    match rests {
        true => JournalThread::start_at_rest(journal, options),
        false => JournalThread::start(journal, options),
    }
    .unwrap()
}

fn send(thread: &JournalThread, records: &[Record]) -> mpsc::Receiver<Answer> {
    let (answer, answers) = mpsc::channel();
    let batch = Batch::new(records.to_vec()).on_answer(move |said| _ = answer.send(said));
    thread.sender().send(batch).unwrap();
    answers
}

#[test]
fn two_processes_write_one_journal_in_turn() {
    for divides in [true, false] {
        let (scratch, mut rng) = (Scratch::new(), Rng::with_seed(7));
        let data = DataDir::open(scratch.path()).unwrap();
        let mut all = Vec::new();
        let mut some = || random::several(&mut rng, 5);
        let one = thread_of(Journal::open(&data, SMALL).unwrap(), false);
        let records = some();
        send(&one, &records);
        all.extend(records);
        // The other one knows which journal it is.
        while one.status().end() == 0 {
            thread::yield_now();
        }
        let other = thread_of(Journal::of_another(&data, SMALL).unwrap(), true);
        assert_eq!(other.status().id(), one.status().id());
        // The one rests, then the other.
        for _ in 0..6 {
            for (writes, waits) in [(&one, &other), (&other, &one)] {
                let records = some();
                send(writes, &records);
                all.extend(records);
                if divides {
                    writes.divide();
                }
                let records = some();
                send(writes, &records);
                all.extend(records);
                let end = all.len() as u64;
                assert_eq!(writes.rest(), Ok(end));
                assert_eq!(read_all(&data.path().join(FOLDER), 0), all);
                // What it is told meanwhile waits.
                let waiting = some();
                let late = send(writes, &waiting);
                assert_eq!(waits.go_on(), Ok(end));
                assert_eq!(waits.status().durable(), end);
                assert!(late.try_recv().is_err());
                assert_eq!(waits.rest(), Ok(end));
                assert_eq!(writes.go_on(), Ok(end));
                let answer = late.recv().unwrap();
                assert_eq!(answer, Answer::Durable { first: end, records: waiting.len() });
                all.extend(waiting);
                assert_eq!(writes.rest(), Ok(all.len() as u64));
                assert_eq!(waits.go_on(), Ok(all.len() as u64));
            }
        }
        let lives = one.status().lives();
        assert!(lives.windows(2).all(|lives| lives[0].first <= lives[1].first), "{lives:?}");
        // One that rests ends when it is stopped, and writes nothing of what waits.
        let waits = send(&other, &some());
        other.stop();
        assert!(matches!(waits.recv(), Ok(Answer::Refused { why: Refusal::Stopped, .. })));
        let journal = one.stop();
        assert_eq!(journal.end(), all.len() as u64);
        drop(journal);
        assert_eq!(Journal::open(&data, SMALL).unwrap().end(), all.len() as u64);
        assert_eq!(read_all(&data.path().join(FOLDER), 0), all);
    }
}

#[test]
fn who_cannot_write_does_not_rest_and_who_cannot_read_does_not_go_on() {
    let scratch = Scratch::new();
    let data = DataDir::open(scratch.path()).unwrap();
    assert!(matches!(Journal::of_another(&data, SMALL), Err(JournalError::Read { .. })));
    let mut rng = Rng::with_seed(1);
    let one = thread_of(Journal::open(&data, SMALL).unwrap(), false);
    send(&one, &random::several(&mut rng, 5));
    assert_eq!(one.rest(), Ok(5));
    let segment = fs::read_dir(data.path().join(FOLDER)).unwrap().next().unwrap().unwrap().path();
    let (good, moved) = (fs::read(&segment).unwrap(), segment.with_extension("away"));
    fs::rename(&segment, &moved).unwrap();
    fs::write(&segment, b"no segment").unwrap();
    assert!(one.go_on().unwrap_err().contains("damaged"));
    fs::write(&segment, good).unwrap();
    fs::remove_file(moved).unwrap();
    assert_eq!(one.go_on(), Ok(5));
    send(&one, &random::several(&mut rng, 5));
    assert_eq!(one.rest(), Ok(10));
}
