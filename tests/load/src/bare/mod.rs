//! Responders that do nothing but the system calls: the limit a tracker is compared with.

pub(crate) mod udp;
