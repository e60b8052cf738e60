//! Responders that do nothing but the system calls: the limit a tracker is compared with.

#[cfg(feature = "glommio")]
pub(crate) mod glommio;
pub(crate) mod http;
pub(crate) mod udp;
