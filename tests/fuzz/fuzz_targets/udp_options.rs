//! URL data is the same however it is read, the pieces lie in the options in order, and what is cut
//! off the end never changes what comes before.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::http::Target;
use margay::wire::udp::{Options, URL_DATA_BYTES_MAX};

fuzz_target!(|bytes: &[u8]| {
    let pieces: Vec<&[u8]> = Options::new(bytes).url_data_pieces().collect();
    let mut from = 0;
    for piece in &pieces {
        let at = piece.as_ptr() as usize - bytes.as_ptr() as usize;
        assert!(at >= from + 2 && !piece.is_empty());
        assert_eq!(bytes[at - 2..at], [2, piece.len() as u8]);
        from = at + piece.len();
    }

    let mut buffer = [0; URL_DATA_BYTES_MAX];
    let whole = pieces.concat();
    let url_data = Options::new(bytes).url_data(&mut buffer);
    assert_eq!(url_data, &whole[..whole.len().min(URL_DATA_BYTES_MAX)]);
    if let Target::Announce(Some(key)) | Target::Scrape(Some(key)) = Target::of_url_data(url_data) {
        assert!((1..=64).contains(&key.bytes().len()) && !key.bytes().contains(&b'/'));
    }

    let cut = &bytes[..bytes.len() / 2];
    let before: Vec<&[u8]> = Options::new(cut).url_data_pieces().collect();
    assert!(pieces.starts_with(&before));
});
