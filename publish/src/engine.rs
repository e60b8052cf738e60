//! Content over the wire: what is fetched and what is uploaded.
