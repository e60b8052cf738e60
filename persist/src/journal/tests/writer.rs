//! The thread that writes.

use super::*;

/// A running journal in a directory of its own.
fn running(options: Options, thread: ThreadOptions) -> (Scratch, JournalThread) {
    let scratch = Scratch::new();
    let journal = open(&scratch, options).unwrap();
    (scratch, JournalThread::start(journal, thread).unwrap())
}

fn answered(batch: Batch) -> (Batch, mpsc::Receiver<Answer>) {
    let (answer, answers) = mpsc::channel();
    (batch.on_answer(move |said| answer.send(said).unwrap()), answers)
}

#[test]
fn every_batch_of_every_sender_is_answered_once_and_is_where_the_answer_says() {
    for sync_interval in [Duration::ZERO, Duration::from_millis(20)] {
        let options = ThreadOptions { sync_interval, batches_max: 8 };
        let (scratch, running) = running(SMALL, options);
        let senders: Vec<_> = (0..3)
            .map(|seed| {
                let sender = running.sender().clone();
                thread::spawn(move || {
                    let mut rng = Rng::with_seed(seed);
                    let mut sent = Vec::new();
                    for _ in 0..200 {
                        let mut buffer = sender.buffer();
                        assert!(buffer.is_empty());
                        let records = rng.usize(..30);
                        buffer.extend(random::several(&mut rng, records));
                        let records = buffer.clone();
                        let (mut batch, answers) = answered(Batch::new(buffer));
                        if rng.u8(..50) == 0 {
                            batch = batch.urgent();
                        }
                        sender.send(batch).unwrap();
                        sent.push((records, answers));
                    }
                    sent
                })
            })
            .collect();
        let sent: Vec<_> = senders.into_iter().flat_map(|s| s.join().unwrap()).collect();
        let journal = running.stop();
        assert_eq!(journal.durable(), journal.end());
        let read = read_all(&scratch.path().join(FOLDER), 0);
        let mut total = 0;
        for (records, answers) in sent {
            let said: Vec<_> = answers.iter().collect();
            let [Answer::Durable { first, records: count }] = said[..] else { panic!("{said:?}") };
            assert_eq!(count, records.len());
            assert!(read[first as usize..][..count] == records);
            total += count;
        }
        assert_eq!(read.len(), total);
    }
}

#[test]
fn a_barrier_is_answered_when_all_before_it_is_durable() {
    let long = ThreadOptions { sync_interval: Duration::from_secs(3600), batches_max: 8 };
    let (_scratch, running) = running(SMALL, long);
    let records = random::several(&mut Rng::with_seed(1), 10);
    let (batch, first) = answered(Batch::new(records));
    running.sender().try_send(batch).unwrap();
    let (barrier, second) = answered(Batch::new(Vec::new()).urgent());
    running.sender().try_send(barrier).unwrap();
    assert_eq!(second.recv().unwrap(), Answer::Durable { first: 10, records: 0 });
    assert_eq!(first.recv().unwrap(), Answer::Durable { first: 0, records: 10 });
    assert_eq!(running.status().durable(), 10);
}

#[test]
fn a_full_journal_gives_batches_back_and_takes_them_when_there_is_room() {
    let options = Options { bytes_max: 600_000, ..Options::default() };
    let quick = ThreadOptions { sync_interval: Duration::from_millis(5), batches_max: 8 };
    let (scratch, running) = running(options, quick);
    let (sender, status) = (running.sender().clone(), running.status().clone());
    let mut rng = Rng::with_seed(1);
    let mut taken = Vec::new();
    let refused = loop {
        let records = random::several(&mut rng, 100);
        let (batch, answers) = answered(Batch::new(records.clone()));
        sender.send(batch).unwrap();
        match answers.recv().unwrap() {
            Answer::Durable { first, .. } => {
                assert_eq!(first, taken.len() as u64);
                taken.extend(records);
            }
            Answer::Refused { records: back, why } => {
                assert!(back == records && why == Refusal::Full);
                break records;
            }
        }
    };
    assert!(!status.accepting());
    status.release(taken.len() as u64);
    // The thread finds out by itself that there is room.
    while !status.accepting() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(status.begin() > 0);
    let (batch, answers) = answered(Batch::new(refused.clone()));
    sender.send(batch).unwrap();
    let first = taken.len() as u64;
    assert_eq!(answers.recv().unwrap(), Answer::Durable { first, records: 100 });
    taken.extend(refused);
    let journal = running.stop();
    let begin = journal.begin();
    assert!(read_all(&scratch.path().join(FOLDER), begin) == taken[begin as usize..]);
}

#[test]
fn after_the_stop_everything_is_refused_with_its_records() {
    let (_scratch, running) = running(SMALL, ThreadOptions::default());
    let sender = running.sender().clone();
    let records = random::several(&mut Rng::with_seed(1), 10);
    assert_eq!(running.stop().end(), 0);
    let (batch, answers) = answered(Batch::new(records.clone()));
    drop(sender.send(batch).unwrap_err());
    let why = Refusal::Stopped;
    assert_eq!(answers.recv().unwrap(), Answer::Refused { records: records.clone(), why });
    let batch = sender.try_send(Batch::new(records.clone())).unwrap_err();
    assert_eq!(batch.into_records(), records);
}
