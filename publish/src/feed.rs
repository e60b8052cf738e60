//! What Seeders and readers follow: the feed, its signed list, and the rules for what vanished from it.
