//! Memory that the allocator keeps.

/// Gives memory that was freed back to the system (malloc_trim(3)), where the allocator is that of the GNU
/// library: it keeps what lies between blocks in use. Whoever allocates waits meanwhile.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and changes nothing that anybody sees.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From this size on, in bytes, a block is the system's, and goes back to it as soon as it is free.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 256 * 1024;

/// Keeps large blocks apart from the rest (mallopt(3)). By itself the GNU library lets the bound grow with
/// what was freed, up to 32 MiB, and then keeps the holes that buffers and tables leave as they grow. To
/// be called before there are other threads.
pub fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers, and only the way of further allocations changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}
